"""Traces: what happened between hosts, as data. Made by watching links (`watch`) or read from
captures (`capturefile`); shown as ladders, compared with expectations, drawn in reports."""
