"""The figures of reports: each a data function (plain rows, what tests assert on) and a thin one that draws them."""
