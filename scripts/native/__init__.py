"""The cluster of docker-compose.yaml on this machine without containers: `python -m scripts.native up`.

In come docker-compose.yaml and `.env`; out come the same services with the same commands and variables, as processes
on the loopback interface. One thing to know: only addresses, ports and folders differ from what compose would start.
"""
