"""What a schedule costs, from integers alone: multiply-accumulates, parameters, bytes, milliseconds. Imports no torch."""
