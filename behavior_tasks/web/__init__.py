"""The page that people open in Airflow: facts of the state folder in, HTML out. It knows no server and no Airflow."""
