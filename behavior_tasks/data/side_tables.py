
def side_table_hashes(config):
    return {}
