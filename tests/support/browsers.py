"""How a real browser is started for a test, and how long a busy machine is waited for."""

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 180_000
