"""Reading people's captions and finding their images, whatever the form.

Takes a file or a folder; gives a `Dataset`, or (for `check_dataset`) entries and every problem met. Each
form has a module that fills a `ReadResult`; `read` chooses among them. May use: data.dataset, data.captions.
"""

from distilcap.data.readers.read import find_entries, read_dataset

__all__ = ["find_entries", "read_dataset"]
