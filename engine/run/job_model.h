// The model that a job works on, as its steps so far left it, and the one that it is compared with.
#pragma once

#include <memory>
#include <optional>

#include "engine/run/body.h"
#include "engine/run/job.h"

namespace wring {

class JobModel {
 public:
  JobModel(const JobSpec& spec, at::Device device) : spec_(spec), device_(device) {}

  // Reads these; they are the model from here on. The first are those that were handed in.
  void load(FileTree files);
  void read_again();
  // Of what was read so far: pages of the models, free memory.
  void let_go();
  // What a stage made in memory, not written yet.
  void replace(Body body) { body_ = std::move(body); }
  // The same files, in another place.
  void moved_to(FileTree files) { files_ = std::move(files); }

  const Body& body() const { return *body_; }
  Model& model() const { return body_->model(); }
  Graph& graph() const { return body_->graph(); }
  bool is_graph() const { return body_->is_graph(); }
  const FileTree& files() const { return files_; }
  at::Device device() const { return device_; }

  // Those that evaluations compare with: the job's reference, or else what was handed in.
  Model& reference();
  // Of `files`, which outlive it. Mapped, and decoded layer by layer as any model. Read when it is first
  // asked for, after let_go(), and after another.
  Model& reference(const FileTree& files);

 private:
  const JobSpec& spec_;
  at::Device device_;
  FileTree files_;
  std::optional<Body> body_;
  const FileTree* referred_ = nullptr;  // what reference_ was read from
  std::unique_ptr<Model> reference_;
};

}  // namespace wring
