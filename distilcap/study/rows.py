"""The paper's four tables (Atliha & Šešok 2022), with the rows that it left out.

Command: `distilcap reproduce table1 --data flickr8k/ --preset quick --seeds 3` (table2, table3, table4, all).
Each table begins with its teachers. Tables 3 and 4 also repeat the rows that theirs must be compared with.
Rows that share a teacher share its training, because equal stages have one key. The paper does not say with
which beam the teachers of tables 3 and 4 labelled; here it is `LABEL_BEAM`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distilcap.models.families import title_of
from distilcap.reports.results import Member
from distilcap.stages.captions import Labels
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.study.presets import TablePreset
from distilcap.study.published import TABLE_1, TABLE_2, TABLE_3, TABLE_4, Printed
from distilcap.study.tables import Table, TableRow

__all__ = ["BEAMS", "LABEL_BEAM", "TABLES", "Students", "paper_tables"]

BEAMS = (1, 3, 5, 10)
LABEL_BEAM = 5
FAMILIES = ("updown", "aoanet")
OTHER = {"updown": "aoanet", "aoanet": "updown"}
BEAM_TABLES = {"updown": TABLE_1, "aoanet": TABLE_2}


@dataclass(frozen=True)
class Students:
    """Makes the rows of tables: all on the same data, features and schedule.

    Attributes:
        seeds: of the students, and of their teachers where the preset says so (else the first alone).
        more_seeds: of the ways of distilling `more_for` and of what these are compared with; they begin with
            `seeds`. Empty are the same for all.
    """

    data: ImportData
    features: ExtractFeatures
    preset: TablePreset
    seeds: tuple[int, ...] = (0,)
    more_seeds: tuple[int, ...] = ()
    more_for: tuple[str, ...] = ()

    def longer(self) -> Students:
        """The same with the most seeds."""
        return dataclasses.replace(self, seeds=self.more_seeds or self.seeds)

    def train(self, architecture: str, size: str, seed: int, labels: Labels | None = None) -> Train:
        """One run of a captioner of the preset."""
        role = self.preset.roles[architecture, size]
        training = dataclasses.replace(role.training, seed=seed)
        vocabulary = BuildVocabulary(self.data, self.preset.min_count, training.max_words)
        return Train(self.data, vocabulary, self.features, architecture, role.options, training, labels)

    def member(
        self,
        name: str,
        role: str,
        size: str,
        runs: tuple[Train, ...],
        teacher: str | None = None,
        labels: str = "references",
    ) -> Member:
        """A system that is scored as the preset says."""
        preset = self.preset
        return Member(
            name, role, size, runs, teacher, labels, preset.beam, length_penalty=preset.length_penalty
        )

    def labels(self, teacher: Train, beam: int, n_best: int = 1) -> Generate:
        """A teacher's captions of the training images."""
        if self.preset.length_penalty is None:
            return Generate.as_chosen(teacher, "train", beam, n_best)
        return Generate(teacher, "train", beam, n_best, self.preset.length_penalty)

    def labels_together(self, teachers: tuple[Train, ...], beam: int) -> GenerateTogether:
        """An ensemble's captions of the training images."""
        if self.preset.length_penalty is None:
            return GenerateTogether.as_chosen(teachers, "train", beam)
        return GenerateTogether(teachers, "train", beam, length_penalty=self.preset.length_penalty)

    def teacher(self, architecture: str, size: str = "big") -> TableRow:
        """The big captioner of a family, or another one that teaches."""
        seeds = self.seeds if self.preset.teacher_of_each_seed else self.seeds[:1]
        runs = tuple(self.train(architecture, size, seed) for seed in seeds)
        return TableRow(self.member(f"{architecture}-{size}", "teacher", size, runs))

    def teacher_runs(self, teacher: Member) -> tuple[Train, ...]:
        """The run of a teacher that teaches each seed's student."""
        if self.preset.teacher_of_each_seed:
            return teacher.trains[: len(self.seeds)]
        return (teacher.trains[0],) * len(self.seeds)

    def undistilled(self, architecture: str, size: str) -> TableRow:
        """A captioner that learns from the references."""
        runs = tuple(self.train(architecture, size, seed) for seed in self.seeds)
        member = self.member(f"{architecture}-{size}", "student", size, runs)
        return TableRow(member, printed=_scores(BEAM_TABLES.get(architecture, {}).get((size, None))))

    def taught(
        self, architecture: str, size: str, teacher: Member, beam: int, printed: Printed | None = None
    ) -> TableRow:
        """A captioner that learns from a teacher's best hypothesis of each training image."""
        runs = tuple(
            self.train(architecture, size, seed, self.labels(run, beam))
            for seed, run in zip(self.seeds, self.teacher_runs(teacher), strict=True)
        )
        member = self.member(
            f"{architecture}-{size} from {_short(teacher)}, beam {beam}",
            "distilled",
            size,
            runs,
            teacher.name,
            f"{_short(teacher)}, beam {beam}, top 1",
        )
        if teacher.name == f"{architecture}-big":
            printed = BEAM_TABLES.get(architecture, {}).get((size, beam))
        return TableRow(member, beam, f"{architecture}-{size}", _scores(printed))


def _scores(printed: Printed | None) -> dict[str, float] | None:
    return None if printed is None else printed.as_scores()


def _short(teacher: Member) -> str:
    """A teacher's name without its own teacher's."""
    name, taught, _ = teacher.name.partition(" from ")
    return f"distilled {name}" if taught else name


def _beams(students: Students, architecture: str, number: int) -> Table:
    teacher = students.teacher(architecture)
    rows = [teacher]
    for size in ("medium", "small"):
        rows.append(students.undistilled(architecture, size))
        rows += [students.taught(architecture, size, teacher.member, beam) for beam in BEAMS]
    title = f"Table {number}: beam size of the teacher, {title_of(architecture)}"
    return Table(f"table{number}", title, tuple(rows))


def table1(students: Students) -> Table:
    """Beam size, Up-Down."""
    return _beams(students, "updown", 1)


def table2(students: Students) -> Table:
    """Beam size, AoANet."""
    return _beams(students, "aoanet", 2)


def table3(students: Students) -> Table:
    """Teachers of the other family."""
    teachers = {family: students.teacher(family) for family in FAMILIES}
    rows = list(teachers.values())
    for family in FAMILIES:
        for size in ("medium", "small"):
            rows.append(students.undistilled(family, size))
            own, other = teachers[family].member, teachers[OTHER[family]].member
            rows.append(students.taught(family, size, own, LABEL_BEAM))
            rows.append(students.taught(family, size, other, LABEL_BEAM, TABLE_3[family, size]))
    return Table("table3", "Table 3: architecture of the teacher", tuple(rows))


def table4(students: Students) -> Table:
    """Intermediate teachers for small students."""
    rows = []
    for family in FAMILIES:
        big = students.teacher(family)
        original = students.undistilled(family, "medium")
        distilled = students.taught(family, "medium", big.member, LABEL_BEAM)
        rows += [big, original, distilled, students.undistilled(family, "small")]
        rows.append(students.taught(family, "small", big.member, LABEL_BEAM))
        for kind, teacher in (("original", original), ("distilled", distilled)):
            printed = TABLE_4[family, kind]
            rows.append(students.taught(family, "small", teacher.member, LABEL_BEAM, printed))
    return Table("table4", "Table 4: intermediate teachers of small students", tuple(rows))


TABLES: dict[str, Callable[[Students], Table]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
}


def paper_tables(students: Students, names: Sequence[str] = tuple(TABLES)) -> tuple[Table, ...]:
    """The tables of these names."""
    return tuple(TABLES[name](students) for name in names)
