"""From token ids to words: text, reasoning and calls, told apart as models write them. No model runs here."""
