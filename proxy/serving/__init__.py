"""What lies between sockets and the app: how long connections may take, and how everything ends."""
