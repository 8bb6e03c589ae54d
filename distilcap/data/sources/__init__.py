"""Public data sets as a person has them or can get them.

Takes a folder, and the network where it may be used; gives a folder that `read_dataset` reads.
May use: data.readers, files. Never: the network without being asked.
"""

from distilcap.data.sources.coco import Inventory, look_for_coco, prepare_coco

__all__ = ["Inventory", "look_for_coco", "prepare_coco"]
