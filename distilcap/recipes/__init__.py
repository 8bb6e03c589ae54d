"""Recipes: one function per run or paper table.

Takes a data set and a preset; gives the members of an experiment.

May use: experiments. Never: building anything.
"""
