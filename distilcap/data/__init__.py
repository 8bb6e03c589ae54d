"""Data: captions, images and features on disk.

Takes files of people; gives `Dataset`, `CaptionSet`, feature stores and batches.
May use: text, shapes. Never: models, training, printing.
"""
