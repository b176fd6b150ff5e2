"""The service on one machine: a Ray head with dashboard and job server, and an MLflow server, under one PAM_HOME."""
