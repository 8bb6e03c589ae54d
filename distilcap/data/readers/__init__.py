"""Reading people's captions and finding their images, whatever the form.

Takes a file or a folder; gives a `Dataset`, or (for `check_dataset`) entries and every problem met. Each
form has a module in `forms` that fills a `ReadResult`; `registry` chooses among them. May use: data.dataset,
data.captions, runtime.formats.
"""

from distilcap.data.readers.columns import BY_NAME, Columns
from distilcap.data.readers.entries import ReadResult
from distilcap.data.readers.read import find_entries, read_dataset
from distilcap.data.readers.registry import DataForm, form_of, forms, of_plugin, register_form
from distilcap.data.readers.source import Source

__all__ = [
    "BY_NAME",
    "Columns",
    "DataForm",
    "ReadResult",
    "Source",
    "find_entries",
    "form_of",
    "forms",
    "of_plugin",
    "read_dataset",
    "register_form",
]
