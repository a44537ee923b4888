"""`octavo up`: a router and its replicas on one machine, under one supervisor."""
