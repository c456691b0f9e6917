"""The training script's parts: decoding, augmentation, exact export, and resuming."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
sys.path.insert(0, str(SAMPLES))

import cifar10_data  # noqa: E402
import cifar10_networks  # noqa: E402
import train_cifar10  # noqa: E402


def tiny_dataset(count: int = 40) -> cifar10_data.Cifar10:
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(count) % 10
    return cifar10_data.Cifar10(images, labels, images, labels)


def test_package_rows_decode_to_images(tmp_path: Path):
    Image = pytest.importorskip("PIL.Image")
    package = tmp_path / "package"
    package.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 32, 32, 3), np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name, batch in zip(names, pixels, strict=True):
        Image.fromarray(batch.reshape(2, 1024, 3)).save(package / f"{name}.png")
    (package / "train_lables.json").write_text(json.dumps(list(range(10))))
    (package / "test_lables.json").write_text("[7, 3]")
    (package / "package.json").write_text("{}")
    data = cifar10_data.load_cifar10(tmp_path)
    assert data.train_images.shape == (10, 3, 32, 32) and data.test_labels.tolist() == [7, 3]
    assert data.train_images[3, 2, 5, 9] == pixels[1, 1, 5, 9, 2]
    assert np.array_equal(data.test_images.numpy().transpose(0, 2, 3, 1), pixels[5])


def test_small_crops_are_windows_of_the_image_or_of_its_mirror():
    data, flipped = tiny_dataset(), 0
    for images, labels in cifar10_data.augmented_batches(data, 8, 24, seed=3):
        for image, label in zip(images, labels, strict=True):
            candidates = data.train_images[data.train_labels == label].float()
            found = [
                mirrored
                for mirrored in (False, True)
                for original in (candidates.flip(3) if mirrored else candidates)
                if bool((original.unfold(1, 24, 1).unfold(2, 24, 1) == image[:, None, None]).all((0, 3, 4)).any())
            ]
            assert len(found) == 1
            flipped += found[0]
    assert 5 <= flipped <= 35


def test_every_image_appears_once_an_epoch_and_the_seed_decides_the_order():
    data = tiny_dataset()
    epochs = [list(cifar10_data.augmented_batches(data, 8, 32, seed)) for seed in (1, 1, 2)]
    assert sorted(torch.cat([labels for _, labels in epochs[0]]).tolist()) == sorted(data.train_labels.tolist())
    assert all(bool((a[0] == b[0]).all()) for a, b in zip(epochs[0], epochs[1], strict=True))
    assert not all(bool((a[0] == b[0]).all()) for a, b in zip(epochs[0], epochs[2], strict=True))


@pytest.mark.parametrize("name", train_cifar10.RECIPES)
def test_export_computes_what_the_network_computes(name: str, tmp_path: Path):
    import onnxruntime

    torch.manual_seed(0)
    model = train_cifar10.RECIPES[name].build()
    pixels = tiny_dataset(3).test_images.float()
    model.train()(pixels)  # moves the BatchNorm statistics off their initial values
    train_cifar10.export(model, tmp_path / "model.onnx")
    logits = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(["logits"], {"pixels": pixels.numpy()})[0]
    np.testing.assert_allclose(logits, model(pixels).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert (tmp_path / "model.onnx").stat().st_size <= 1_000_000


def test_an_interrupted_training_continues_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = train_cifar10.Recipe(cifar10_networks.resnet8, small_epochs=1, epochs=2, bfloat16=False, batch=20)
    monkeypatch.setattr(train_cifar10, "RECIPES", {"tiny": recipe})
    data = tiny_dataset()
    straight = train_cifar10.train("tiny", data, tmp_path / "straight.pt", seed=5)

    def stop_after_first_epoch(*_: object) -> float:
        if (tmp_path / "broken.pt").exists():
            raise KeyboardInterrupt
        return 0.0

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train_cifar10, "torch_accuracy", stop_after_first_epoch)
        train_cifar10.train("tiny", data, tmp_path / "broken.pt", seed=5)
    assert torch.load(tmp_path / "broken.pt")["epochs"] == 1
    resumed = train_cifar10.train("tiny", data, tmp_path / "broken.pt", seed=5)
    for a, b in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_sample_takes_the_first_fifty_of_each_class(tmp_path: Path):
    data = tiny_dataset(700)
    train_cifar10.write_test_sample(data, tmp_path / "sample.npz")
    sample = np.load(tmp_path / "sample.npz")
    assert np.array_equal(sample["images"], data.test_images[:500].numpy())
    assert sample["labels"].tolist() == [i % 10 for i in range(500)]
