import json
from pathlib import Path

from finetune.packaging.passport import Passport
from finetune.packaging.request import BuildRequest, BuiltBundle
from finetune.packaging.signing import generate_key
from finetune.sandbox.levels import require
from finetune.work.launcher import launch_packaging
from tests.finetune.packaging.conftest import passport  # noqa: F401  fixture
from tests.finetune.trainer.runs import finish, make_run


def test_packaging_holds_the_files_to_the_training_in_its_sandbox(
    tiny_base: Path,
    passport: Passport,  # noqa: F811
    tmp_path: Path,
) -> None:
    run_dir = make_run(tmp_path / "run", tiny_base, rows=8, adapter={"r": 4})
    assert finish(run_dir) == 0
    request = BuildRequest(
        adapter_dir=run_dir / "result", base_dir=tiny_base, passport=passport, license_terms={}
    )
    (run_dir / "request.json").write_text(request.model_dump_json())

    def code() -> int:
        key, level = generate_key(), require("require")
        child = launch_packaging(run_dir, base_dir=tiny_base, key=key, threads=1, level=level)
        return child.process.wait()

    assert code() == 0, (run_dir / "packaging.log").read_text()
    built = BuiltBundle.model_validate_json((run_dir / "info.json").read_bytes())
    assert built.bundle.passport.parity["adapter"].moved > 0.1

    config = run_dir / "result" / "adapter_config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"lora_alpha": told["lora_alpha"] * 10}))
    (run_dir / "bundle").rename(run_dir / "first")
    assert code() == 70
    assert json.loads((run_dir / "error.json").read_bytes())["code"] == "parity_failed"
