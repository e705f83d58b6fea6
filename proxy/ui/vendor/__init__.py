"""What the page at / is made with, from npm: Preact, its hooks and signals, htm and uPlot."""
