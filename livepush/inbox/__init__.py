"""The inbox: notifications that stay, and what each reader has seen, read and archived of them.

``notify`` sends one event; ``filing`` makes inbox entries of such events, in the log's order, once; ``reading`` lists
and counts them for a reader; ``marking`` changes a reader's state. Nothing here is written for a reader who only looks.
"""
