"""Text: captions to words and ids.

Takes strings; gives words and token ids. May use: nothing of ours. Never: files, torch.
"""
