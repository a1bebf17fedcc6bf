"""Plaques and confounders: how many, where, and how large."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import scipy.sparse.csgraph

from coronet.phantom.anatomy import draw_anatomy
from coronet.phantom.confounders import CONFOUNDERS, draw_confounders
from coronet.phantom.curves import Tube
from coronet.phantom.deposits import true_volume_mm3
from coronet.phantom.lesion_sites import find_sites
from coronet.phantom.lesions import VESSEL_TRAITS, burden_of, draw_lesions
from coronet.phantom.plaque_ranges import REALISTIC_PLAQUES
from coronet.phantom.random_draws import generator
from coronet.phantom.scanner_artifacts import is_metal


@pytest.fixture(scope="module")
def sites():
    return find_sites(draw_anatomy(generator(1)))


@pytest.mark.parametrize("seed", range(4))
def test_every_block_of_twelve_holds_all_burdens(seed):
    drawn = [burden_of(generator(seed), place) for place in range(12)]
    assert sorted(drawn) == sorted(REALISTIC_PLAQUES.block)
    assert drawn.count("none") == 4


def test_a_patient_without_calcium_has_no_lesion(sites):
    assert draw_lesions(generator(2), sites.vessels, burden="none") == ()


@pytest.mark.parametrize("burden", ["low", "moderate", "high"])
def test_lesions_lie_on_their_vessels(sites, burden):
    for seed in range(6):
        lesions = draw_lesions(generator(3, seed), sites.vessels, burden=burden)
        assert 1 <= len(lesions) <= 12
        for lesion in lesions:
            curve = sites.vessels[lesion.vessel]
            apart = np.sqrt(((lesion.centres_mm[:, None] - curve.points) ** 2).sum(axis=2)).min(axis=1)
            assert apart.max() < 1.3 * curve.radii.max() + 1.0
            assert 150 <= lesion.hu.max() <= 1200


def test_burdens_follow_each_other(sites):
    volumes = {}
    for burden in ("low", "moderate", "high"):
        volumes[burden] = np.mean(
            [
                sum(
                    true_volume_mm3(lesion)
                    for lesion in draw_lesions(generator(4, seed), sites.vessels, burden=burden)
                )
                for seed in range(8)
            ]
        )
    assert volumes["low"] < volumes["moderate"] < volumes["high"]


def test_lesions_grow_and_stay_in_place(sites):
    first = draw_lesions(generator(5), sites.vessels, burden="high")
    later = draw_lesions(generator(5), sites.vessels, burden="high", growth=1.4)
    assert [lesion.name for lesion in first] == [lesion.name for lesion in later]
    for before, after in zip(first, later, strict=True):
        assert np.abs(before.centres_mm.mean(axis=0) - after.centres_mm.mean(axis=0)).max() < 6.0
    grown = sum(map(true_volume_mm3, later)) / sum(map(true_volume_mm3, first))
    assert 1.15 < grown < 1.65


def test_confounders_of_every_kind_occur_with_and_without_coronary_calcium(sites):
    for diseased in (False, True):
        kinds = collections.Counter(
            kind
            for seed in range(150)
            for kind in {
                deposit.kind for deposit in draw_confounders(generator(6, seed), sites, diseased=diseased)
            }
        )
        for kind, confounder in CONFOUNDERS.items():
            rate = confounder.rates[diseased]
            assert abs(kinds[kind] / 150 - rate) < 0.16
            assert kinds[kind] > 0 or rate == 0


def test_only_metal_passes_for_metal(sites):
    metal = {"lead", "sternal_wire", "clip", "stent"}
    for seed in range(60):
        for deposit in draw_confounders(generator(7, seed), sites, diseased=True):
            assert is_metal(deposit) == (deposit.kind in metal)
            assert deposit.vessel == ""


def test_a_pericardial_plate_is_a_sheet_and_not_scattered_dots(sites):
    drawn = (draw_confounders(generator(9, seed), sites, diseased=True) for seed in range(80))
    plates = [deposit for all_kinds in drawn for deposit in all_kinds if deposit.kind == "pericardial_plate"]
    assert plates
    for plate in plates:
        apart = np.sqrt(((plate.centres_mm[:, None] - plate.centres_mm) ** 2).sum(axis=2))
        touching = apart < plate.radii_mm[:, None] + plate.radii_mm + plate.edge_mm
        _, piece = scipy.sparse.csgraph.connected_components(touching)
        assert np.bincount(piece).max() > 0.9 * len(piece)


def test_names_are_unique(sites):
    lesions = draw_lesions(generator(8), sites.vessels, burden="high")
    others = draw_confounders(generator(8, 1), sites, diseased=True)
    names = [deposit.name for deposit in (*lesions, *others)]
    assert len(names) == len(set(names))


def test_vessels_have_the_names_of_the_labels(sites):
    assert set(sites.vessels) == set(VESSEL_TRAITS)


def test_a_curve_is_measured_along_itself():
    curve = Tube(np.asarray([[0.0, 0, 0], [3, 4, 0], [3, 4, 12]]), np.asarray([2.0, 2.0, 1.0]))
    assert curve.length_mm == pytest.approx(17.0)
    middle = curve.at(11.0)
    assert middle.point == pytest.approx((3.0, 4.0, 6.0))
    assert middle.radius_mm == pytest.approx(1.5)
    assert np.dot(middle.tangent, middle.across) == pytest.approx(0.0)
    wall = middle.wall(53.0, 2.0) - middle.point
    assert np.sqrt((wall**2).sum()) == pytest.approx(2.0)
    assert np.dot(wall, middle.tangent) == pytest.approx(0.0)
