"""The forms of data sets that are read: one module each, which registers its form (`registry.DataForm`)."""
