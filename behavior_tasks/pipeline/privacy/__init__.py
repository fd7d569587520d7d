"""Privacy: what is held about people, in artifacts, databases and files; what may leave, and what must go.

In come the state folder and a person or a policy; out come answers that can be checked. The one thing to know: whoever
asks about a person types their raw id, and no answer, log or file of this package ever repeats it.
"""
