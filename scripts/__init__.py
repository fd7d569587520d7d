"""What an operator runs beside the command line: secrets, a cluster without containers, backup and restore."""
