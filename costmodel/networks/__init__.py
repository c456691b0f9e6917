"""Latencies of whole networks on boards, from their ncnn graphs."""
