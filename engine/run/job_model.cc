// Files are read when they change, and once more to let go of what was read of them.
#include "engine/run/job_model.h"

#include <utility>

#include "engine/model/load.h"
#include "engine/run/hardware.h"
#include "engine/run/steps.h"

namespace wring {

void JobModel::load(FileTree files) {
  files_ = std::move(files);
  read_again();
}

void JobModel::read_again() {
  body_.reset();
  body_ = Body::load(files_, device_);
}

void JobModel::let_go() {
  reference_.reset();
  read_again();
  release_free_memory();
}

Model& JobModel::reference() {
  return reference(dense_input(spec_).files);
}

Model& JobModel::reference(const FileTree& files) {
  if (reference_ && referred_ == &files) return *reference_;
  reference_.reset();
  reference_ = load_model(files, device_);
  referred_ = &files;
  return *reference_;
}

}  // namespace wring
