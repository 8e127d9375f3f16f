"""The figures of reports: each a data function (plain rows, what tests assert on) and a thin function that draws them."""
