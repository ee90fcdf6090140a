"""The same work on orledger, NATS JetStream, etcd and PostgreSQL, on one machine in one run."""
