"""OpenAI's Responses as another form of a chat: their requests become chat requests, and answers their events. Pure."""
