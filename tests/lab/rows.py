# SPDX-License-Identifier: Apache-2.0
"""Rows of a table that CI leaves to make test-lab-long: values of a kind that is there already."""

from _pytest.mark import ParameterSet
from pytest import mark, param


def further(*values: object) -> list[ParameterSet]:
    return [param(value, marks=mark.long) for value in values]
