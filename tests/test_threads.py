"""How many threads an operation may take."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from types import SimpleNamespace

import pytest

from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.threads import VARIABLES, allowed_threads, available_threads, use_threads


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def test_all_processors_by_default():
    assert allowed_threads() == available_threads() >= 1


@pytest.mark.parametrize("variable", VARIABLES)
def test_variables_are_respected(monkeypatch, variable):
    monkeypatch.setenv(variable, "3")
    assert allowed_threads() == 3
    with use_threads(5):
        assert allowed_threads() == 5


def test_the_own_variable_is_stronger_than_the_usual_ones(monkeypatch):
    for number, variable in enumerate(VARIABLES, 2):
        monkeypatch.setenv(variable, str(number))
    assert allowed_threads() == 2


@pytest.mark.parametrize("value", ["", "0", "-1", "many", "1.5"])
def test_variables_that_name_no_number_are_passed_over(monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert allowed_threads() == available_threads()


def test_a_list_of_nesting_levels_counts_by_its_first(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2,1")
    assert allowed_threads() == 4


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, None])
def test_not_a_number_of_threads(threads):
    with pytest.raises(ParameterError, match="threads = "), use_threads(threads):
        pass


def test_a_context_is_its_threads_own_and_is_left_behind():
    seen = []
    with use_threads(7):
        with use_threads(1):
            assert allowed_threads() == 1
        thread = threading.Thread(target=lambda: seen.append(allowed_threads()))
        thread.start()
        thread.join()
        assert allowed_threads() == 7
    assert seen == [available_threads()]
    assert allowed_threads() == available_threads()


def _tell(queue):
    queue.put(allowed_threads())


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside other tests' threads
def test_child_processes_take_one_thread(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_tell, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 1
    child.join()


def test_workers_of_dask_take_one_thread(monkeypatch):
    def no_worker():
        raise ValueError("No worker found")

    monkeypatch.setitem(sys.modules, "distributed.worker", SimpleNamespace(get_worker=no_worker))
    assert allowed_threads() == available_threads()
    monkeypatch.setitem(sys.modules, "distributed.worker", SimpleNamespace(get_worker=object))
    assert allowed_threads() == 1


def test_workers_of_a_real_dask_cluster_take_one_thread():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(1, processes=False, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(allowed_threads).result() == 1
    assert allowed_threads() == available_threads()
