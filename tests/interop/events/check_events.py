"""TensorBoard reads back the scalars of a run that was started twice: steps that the second start repeats are its own.

usage: check_events.py WRITE_EVENTS
"""

import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], folder], check=True)
        events = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()

    assert events.Tags()["scalars"] == ["loss", "lr"], events.Tags()
    loss = {e.step: e.value for e in events.Scalars("loss")}
    expected = {step: 0.25 * step + (100 if step >= 4 else 0) for step in range(1, 10)}
    assert loss == expected, (loss, expected)
    assert len(events.Scalars("loss")) == 9
    assert all(abs(e.value - 1e-4) < 1e-10 and e.wall_time > 1e9 for e in events.Scalars("lr"))


main()
