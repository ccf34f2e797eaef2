"""Hierarchical risk parity: as published, as another implementation of the same tree, and whatever the column order."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from trading_pipeline.research.allocation.hierarchical_risk_parity import hierarchical_risk_parity


def random_covariance(seed, names):
    random = np.random.Generator(np.random.PCG64(seed))
    factors = random.standard_normal((names, 4))
    own = random.uniform(0.5, 3, names)
    scale = random.uniform(0.005, 0.03, names)
    return (factors @ factors.T + np.diag(own)) * np.outer(scale, scale)


@pytest.mark.real_data
def test_the_published_example(real_data):
    """Lopez de Prado 2016: weights to eight digits, and the order of the leaves."""
    frame = pl.read_csv(real_data / "reference" / "hrp_ldp_cov.csv")
    told = hierarchical_risk_parity(frame.drop(frame.columns[0]).to_numpy())
    assert (told.order + 1).tolist() == [9, 2, 10, 1, 7, 3, 6, 4, 5, 8]
    assert [round(each, 8) for each in told.weights] == [
        0.06999366,
        0.07592151,
        0.10838948,
        0.19029104,
        0.09719887,
        0.10191545,
        0.06618868,
        0.09095933,
        0.07123881,
        0.12790318,
    ]


def test_as_skfolio_computes_it_once_it_is_given_the_published_tree():
    """skfolio with single linkage over the distances of the columns of distances, plain leaf order."""
    from scipy.spatial.distance import pdist, squareform
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.distance import PearsonDistance
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.seriation import HierarchicalSeriation

    class ColumnDistance(PearsonDistance):
        def fit(self, X, y=None):  # noqa: N803, the library's name
            super().fit(X)
            self.distance_ = squareform(pdist(self.distance_))
            return self

    random = np.random.Generator(np.random.PCG64(21))
    for names in (2, 3, 17, 40):
        returns = random.multivariate_normal(np.zeros(names), random_covariance(names, names), 300)
        # As skfolio leaves it to the columns which of two names comes first, they come by variance.
        returns = returns[:, np.argsort(returns.var(axis=0))]
        model = HierarchicalRiskParity(
            distance_estimator=ColumnDistance(),
            seriation_estimator=HierarchicalSeriation(
                hierarchical_clustering_estimator=HierarchicalClustering(linkage_method=LinkageMethod.SINGLE),
                optimal_ordering=False,
            ),
        )
        theirs = model.fit(returns)
        ours = hierarchical_risk_parity(np.cov(returns.T))
        assert ours.order.tolist() == theirs.seriation_estimator_.ordering_.tolist()
        assert ours.weights == pytest.approx(theirs.weights_, rel=1e-9)


@pytest.mark.parametrize("names", [2, 3, 8, 33, 100])
def test_weights_belong_to_names_and_not_to_columns(names):
    covariance = random_covariance(names, names)
    told = hierarchical_risk_parity(covariance)
    moved = np.random.Generator(np.random.PCG64(1)).permutation(names)
    again = hierarchical_risk_parity(covariance[np.ix_(moved, moved)])
    assert again.weights == pytest.approx(told.weights[moved], rel=1e-10)
    assert moved[again.order].tolist() == told.order.tolist()
    assert hierarchical_risk_parity(covariance * 252).weights == pytest.approx(told.weights, rel=1e-10)
    assert told.weights.sum() == pytest.approx(1)
    assert (told.weights > 0).all()


def test_two_names_are_weighted_by_inverse_variance():
    covariance = np.array([[0.04, 0.003], [0.003, 0.01]])
    assert hierarchical_risk_parity(covariance).weights == pytest.approx([0.2, 0.8])


def test_unrelated_names_are_weighted_by_inverse_variance():
    variance = np.array([4.0, 1.0, 2.0, 8.0])
    told = hierarchical_risk_parity(np.diag(variance)).weights
    assert told == pytest.approx((1 / variance) / (1 / variance).sum())


def test_one_name_and_names_that_are_alike_or_cancel_out():
    assert hierarchical_risk_parity(np.array([[0.3]])).weights.tolist() == [1.0]
    alike = hierarchical_risk_parity(np.full((4, 4), 0.01)).weights
    assert alike == pytest.approx(np.full(4, 0.25))
    hedged = hierarchical_risk_parity(0.01 * np.array([[1.0, -1.0], [-1.0, 1.0]])).weights
    assert hedged == pytest.approx([0.5, 0.5])
    both = hierarchical_risk_parity(0.01 * np.kron(np.eye(2), np.array([[1.0, -1.0], [-1.0, 1.0]]))).weights
    assert both == pytest.approx(np.full(4, 0.25)), "two pairs without any risk share alike"
