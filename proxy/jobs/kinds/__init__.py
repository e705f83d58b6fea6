"""The kinds of long work there are: what each takes, does and leaves. Each knows nothing of queues."""
