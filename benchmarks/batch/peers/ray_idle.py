"""A local Ray that has nothing to do: what Ray costs before anybody uses it."""

import time

import ray

if __name__ == "__main__":
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    time.sleep(10)
    ray.shutdown()
