"""Plain data shared by every layer. Imports nothing above it; all times are epoch milliseconds."""
