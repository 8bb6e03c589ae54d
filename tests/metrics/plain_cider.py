"""CIDEr-D as the paper writes it, with dictionaries: slow, plain, and independent of the package."""

import math
from collections import Counter


def grams(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def document_frequencies(references):
    return Counter(
        gram
        for captions in references
        for gram in {g for words in captions for n in range(1, 5) for g in grams(words, n)}
    )


def cider_d(candidate, references, frequencies, documents, sigma=6.0):
    """One candidate's score; `references` are lists of words."""

    def weigh(words, n):
        return {
            gram: count * (math.log(documents) - math.log(max(1, frequencies[gram])))
            for gram, count in grams(words, n).items()
        }

    def norm(vector):
        return math.sqrt(sum(weight**2 for weight in vector.values()))

    total = 0.0
    for reference in references:
        bigrams = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
        penalty = math.exp(-(bigrams**2) / (2 * sigma**2))
        for n in range(1, 5):
            of_candidate, of_reference = weigh(candidate, n), weigh(reference, n)
            scale = norm(of_candidate) * norm(of_reference)
            if scale:
                product = sum(
                    min(weight, of_reference.get(gram, 0)) * of_reference.get(gram, 0)
                    for gram, weight in of_candidate.items()
                )
                total += product / scale * penalty / 4
    return 10 * total / len(references)
