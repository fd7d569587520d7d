"""The page that people open in Airflow: facts of the state folder in, HTML out; it knows neither Airflow nor a server."""
