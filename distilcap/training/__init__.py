"""Training: cross-entropy and self-critical phases, resumable to the bit.

Takes a captioner, a source of regions and a `CaptionSet`; gives weights, a log and checkpoints.
May use: decode, models, metrics, data. Never: printing, knowing who is teacher or student.
"""
