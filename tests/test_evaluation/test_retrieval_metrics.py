"""RetrievalMetrics: embeddings and rankings of model outputs, in one process and in two."""

import multiprocessing

import faiss
import numpy as np
import pytest
import torch
import torch.distributed
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import RetrievalMetrics
from retrieval.errors import RetrievalError
from retrieval.evaluation import evaluate_embeddings
from retrieval.vectors import exact_search


def data(count=23, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    embeddings = rng.standard_normal((classes, 6))[labels] + rng.standard_normal((count, 6))
    return embeddings.astype(np.float32), labels


def samples_of(embeddings, labels, **fields):
    samples = []
    for row, label in enumerate(labels):
        sample = DataSample().set_gt_label(int(label)).set_pred_label(0)
        sample.set_field(torch.from_numpy(embeddings[row]), 'embedding')
        for name, values in fields.items():
            sample.set_field(values[row], name, field_type='metainfo')
        samples.append(sample.to_dict())
    return samples


def percent(report):
    return {f'retrieval/{name}': 100 * value for name, value in report.metrics.items()}


def test_is_registered_and_spans_batches():
    embeddings, labels = data()
    metric = METRICS.build(dict(type='mmpretrain.RetrievalMetrics', ks=(1, 2, 4, 8)))
    samples = samples_of(embeddings, labels)
    metric.process(None, samples[:10])
    metric.process(None, samples[10:])
    found = metric.evaluate(len(samples))
    assert found == pytest.approx(percent(evaluate_embeddings(embeddings, labels)))
    assert set(found) == {f'retrieval/{name}' for name in metric.report.metrics}
    assert metric.results == []


def test_the_first_metric_is_one_that_save_best_auto_can_take():
    embeddings, labels = data()
    metric = RetrievalMetrics()
    metric.process(None, samples_of(embeddings, labels))
    assert next(iter(metric.evaluate(len(labels)))) == 'retrieval/MAP@R'


def test_options_reach_the_evaluation():
    embeddings, labels = data()
    metric = RetrievalMetrics(ks=(3,), metric='l2', whole_ranking=False, prefix='unseen')
    metric.process(None, samples_of(embeddings, labels))
    found = metric.evaluate(len(labels))
    expected = evaluate_embeddings(embeddings, labels, metric='l2', ks=(3,), whole_ranking=False).metrics
    assert found == pytest.approx({f'unseen/{name}': 100 * value for name, value in expected.items()})


def test_half_precision_on_the_model_is_compared_in_float32():
    embeddings, labels = data()
    samples = samples_of(embeddings, labels)
    for sample in samples:
        sample['embedding'] = sample['embedding'].half()
    metric = RetrievalMetrics()
    metric.process(None, samples)
    rounded = embeddings.astype(np.float16).astype(np.float32)
    assert metric.evaluate(len(labels)) == pytest.approx(percent(evaluate_embeddings(rounded, labels)))


def test_queries_marked_by_a_field():
    embeddings, labels = data()
    is_query = np.arange(len(labels)) % 3 == 0
    metric = RetrievalMetrics(query_field='is_query')
    metric.process(None, samples_of(embeddings, labels, is_query=is_query.tolist()))
    of_queries = embeddings[is_query], labels[is_query]
    expected = evaluate_embeddings(embeddings[~is_query], labels[~is_query], *of_queries)
    assert metric.evaluate(len(labels)) == pytest.approx(percent(expected))


def test_worst_classes_and_lone_images_are_kept_with_their_names():
    embeddings, labels = data()
    labels[5] = 4
    metric = RetrievalMetrics(worst_classes=2)
    metric.dataset_meta = dict(classes=('wren', 'tit', 'owl', 'gull', 'tern'))
    metric.process(None, samples_of(embeddings, labels))
    metric.evaluate(len(labels))
    assert metric.report.lone_classes == ['tern'] and metric.report.num_lone == 1
    assert {scores.name for scores in metric.report.classes} == {'wren', 'tit', 'owl', 'gull'}


def test_names_of_other_classes_are_not_used():
    embeddings, labels = data()
    metric = RetrievalMetrics()
    metric.dataset_meta = dict(classes=('wren',))
    metric.process(None, samples_of(embeddings, labels))
    metric.evaluate(len(labels))
    assert {scores.name for scores in metric.report.classes} == {'0', '1', '2', '3'}


# --- several processes


def _run_rank(rank, count, folder, queue):
    """One of two processes with the samples that mmengine's DefaultSampler gives it, the first image as padding."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    embeddings, labels = data(count)
    order = [*range(count), *range(-count % 2)][rank::2]
    metric = RetrievalMetrics(collect_dir=f'{folder}/parts')
    metric.process(None, samples_of(embeddings[order[:4]], labels[order[:4]]))
    metric.process(None, samples_of(embeddings[order[4:]], labels[order[4:]]))
    queue.put((rank, metric.evaluate(count)))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('count', [22, 23])
def test_two_processes_find_the_metrics_of_one(count, tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    ranks = [context.Process(target=_run_rank, args=(rank, count, tmp_path, queue)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = dict(queue.get() for _ in ranks)
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    expected = percent(evaluate_embeddings(*data(count)))
    assert found[0] == found[1] == pytest.approx(expected)


# --- outputs of retrievers


def ranked(ranking, relevant):
    return DataSample().set_pred_label(torch.as_tensor(ranking)).set_gt_label(relevant).to_dict()


def test_rankings_with_relevant_rows_as_in_in_shop():
    metric = RetrievalMetrics(ks=(1, 2), mode='ranking')
    metric.process(None, [ranked([3, 0, 1, 2], [0, 1]), ranked([2, 1, 0, 3], [2])])
    assert metric.evaluate(2) == {
        'retrieval/MAP@R': 100 * (0.25 + 1) / 2,
        'retrieval/Recall@1': 50,
        'retrieval/Recall@2': 100,
        'retrieval/R-Precision': 75,
        'retrieval/mAP': 100 * ((1 / 2 + 2 / 3) / 2 + 1) / 2,
    }


def test_rankings_and_embeddings_give_the_same():
    embeddings, labels = data(60)
    queries, gallery = slice(20), slice(20, None)
    _, rankings = exact_search(embeddings[gallery], embeddings[queries], 40)
    metric = RetrievalMetrics(mode='ranking')
    relevant = [np.flatnonzero(labels[gallery] == label).tolist() for label in labels[queries]]
    metric.process(None, [ranked(ranking, rows) for ranking, rows in zip(rankings, relevant)])
    parts = embeddings[gallery], labels[gallery], embeddings[queries], labels[queries]
    assert metric.evaluate(20) == pytest.approx(percent(evaluate_embeddings(*parts)))


def test_rankings_may_end_when_all_relevant_rows_are_found():
    metric = RetrievalMetrics(ks=(1, 8), mode='ranking')
    metric.process(None, [ranked([3, 0], [0])])
    found = metric.evaluate(1)
    assert (found['retrieval/Recall@8'], found['retrieval/mAP']) == (100, 50)


@pytest.mark.parametrize(
    'ranking, relevant, options, message',
    [
        ([3, 0], [0, 1], {}, r'mAP needs .* of 2 there are 1 among 2: set topk=-1 .* or whole_ranking=False'),
        ([3, 0], [0, 1, 2], dict(whole_ranking=False), 'have 2 images, but 3 are needed'),
        ([3, 0], [1], dict(whole_ranking=False, ks=(4,)), 'have 2 images, but 4 are needed'),
    ],
)
def test_rankings_that_are_too_short(ranking, relevant, options, message):
    metric = RetrievalMetrics(mode='ranking', **options)
    with pytest.raises(GLSimError, match=message):
        metric.process(None, [ranked(ranking, relevant)])


def test_a_short_ranking_will_do_for_recall_where_something_is_found():
    metric = RetrievalMetrics(mode='ranking', ks=(1, 8), whole_ranking=False)
    metric.process(None, [ranked([3, 0], [0, 1])])
    assert metric.evaluate(1)['retrieval/Recall@8'] == 100


@pytest.fixture
def gallery(tmp_path):
    """Config of a data set of four images, classes 0, 0, 1 and 1."""
    for name in ('gull', 'tern'):
        (tmp_path / name).mkdir()
        for index in range(2):
            (tmp_path / name / f'{index}.png').touch()
    return dict(type='CustomDataset', data_root=str(tmp_path), pipeline=[dict(type='LoadImageFromFile')])


def test_rankings_with_the_labels_of_a_gallery(gallery):
    metric = RetrievalMetrics(ks=(1,), mode='ranking', gallery=gallery)
    metric.process(None, [ranked([2, 0, 1, 3], [1]), ranked([2, 0, 1, 3], [0])])
    assert metric.evaluate(2)['retrieval/Recall@1'] == 50


def test_classes_of_queries_and_gallery_are_compared_by_name(gallery):
    metric = RetrievalMetrics(ks=(1,), mode='ranking', gallery=gallery)
    metric.dataset_meta = dict(classes=('auk', 'tern', 'gull'))
    metric.process(None, [ranked([2, 0, 1, 3], [1]), ranked([2, 0, 1, 3], [2])])  # a tern, a gull
    assert metric.evaluate(2)['retrieval/Recall@1'] == 50
    metric.process(None, [ranked([2, 0, 1, 3], [0])])  # the gallery has no auk
    with pytest.raises(GLSimError, match='no query has a relevant image'):
        metric.evaluate(1)


def test_queries_without_a_relevant_row_do_not_count(gallery):
    metric = RetrievalMetrics(ks=(1,), mode='ranking', gallery=gallery)
    metric.process(None, [ranked([2, 0, 1, 3], [1]), ranked([2, 0, 1, 3], [7])])
    assert metric.evaluate(2)['retrieval/Recall@1'] == 100
    metric.process(None, [ranked([2, 0, 1, 3], [7])])
    with pytest.raises(GLSimError, match='no query has a relevant image'):
        metric.evaluate(1)


# --- mistakes


def test_without_embeddings_the_error_names_the_hook():
    sample = DataSample().set_gt_label(0).to_dict()
    with pytest.raises(GLSimError, match='KeepEmbeddingsHook'):
        RetrievalMetrics().process(None, [sample])


def test_other_mistakes():
    embeddings, labels = data()
    sample = samples_of(embeddings[:1], labels[:1])[0]
    with pytest.raises(GLSimError, match='no field is_query'):
        RetrievalMetrics(query_field='is_query').process(None, [sample])
    with pytest.raises(GLSimError, match='one label per image'):
        RetrievalMetrics().process(None, [{**sample, 'gt_label': torch.tensor([0, 1])}])
    del sample['gt_label']
    with pytest.raises(GLSimError, match='needs the class'):
        RetrievalMetrics().process(None, [sample])
    with pytest.raises(GLSimError, match='gt_label'):
        RetrievalMetrics(mode='ranking').process(None, [sample])
    with pytest.raises(GLSimError, match='no ranking'):
        RetrievalMetrics(mode='ranking').process(None, [dict(gt_label=torch.tensor([0]))])
    with pytest.raises(GLSimError, match='no image was evaluated'):
        RetrievalMetrics().evaluate(0)


@pytest.mark.parametrize('options', [dict(mode='rows'), dict(ks=()), dict(ks=(0, 1)), dict(gallery={})])
def test_arguments_out_of_range(options):
    with pytest.raises(GLSimError, match='RetrievalMetrics'):
        RetrievalMetrics(**options)


def test_no_class_with_two_images_is_one_clear_error():
    embeddings, _ = data(3)
    metric = RetrievalMetrics()
    metric.process(None, samples_of(embeddings, [0, 1, 2]))
    with pytest.raises(RetrievalError, match='no query has another image'):
        metric.evaluate(3)


def test_nan_is_an_error_not_a_number():
    embeddings, labels = data()
    embeddings[3, 2] = np.nan
    metric = RetrievalMetrics()
    metric.process(None, samples_of(embeddings, labels))
    with pytest.raises(RetrievalError, match='row 3 has NaN'):
        metric.evaluate(len(labels))
