"""The page that captions in a browser, its server, and Chromium for measuring it."""
