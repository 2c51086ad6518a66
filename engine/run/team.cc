// A parcel is the length of its head, the head (JSON with the tensors' names, types and shapes) and the
// tensors' bytes, one after the other.
#include "engine/run/team.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace wring {
namespace {

// Whether all of it went through.
bool send_all(int fd, const void* bytes, std::size_t size) {
  const auto* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t n = ::send(fd, at, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool receive_all(int fd, void* bytes, std::size_t size) {
  auto* at = static_cast<char*>(bytes);
  while (size > 0) {
    const ssize_t n = ::recv(fd, at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool has_arrived(int fd) {
  pollfd waiting{fd, POLLIN, 0};
  return ::poll(&waiting, 1, 0) > 0;
}

Json head_of(const Parcel& parcel) {
  Json tensors = Json::array();
  for (const auto& [name, tensor] : parcel.tensors)
    tensors.push_back({name, static_cast<int>(tensor.scalar_type()), tensor.sizes().vec()});
  return {{"json", parcel.json}, {"tensors", tensors}};
}

}  // namespace

Team::Team(int rank, std::vector<FileDescriptor> links, std::function<Error(int rank)> lost)
    : rank_(rank), links_(std::move(links)), lost_(std::move(lost)) {}

void Team::send(int to, const Parcel& parcel) {
  const int fd = links_[static_cast<std::size_t>(to)].get();
  const std::string head = head_of(parcel).dump();
  const std::uint64_t length = head.size();
  bool sent = send_all(fd, &length, sizeof length) && send_all(fd, head.data(), head.size());
  for (const auto& named : parcel.tensors) {
    const at::Tensor bytes = named.tensor.detach().cpu().contiguous();
    sent = sent && send_all(fd, bytes.const_data_ptr(), bytes.nbytes());
  }
  while (!sent) receive(to);  // what it said last is why it has gone
}

Parcel Team::receive(int from) {
  const int fd = links_[static_cast<std::size_t>(from)].get();
  std::uint64_t length = 0;
  if (!receive_all(fd, &length, sizeof length)) throw_lost(from);
  std::string head(length, '\0');
  if (!receive_all(fd, head.data(), head.size())) throw_lost(from);
  const Json json = parse_json(head, "a parcel");
  Parcel parcel{json.at("json"), {}};
  for (const auto& entry : json.at("tensors")) {
    const auto dtype = static_cast<at::ScalarType>(entry.at(1).get<int>());
    at::Tensor tensor = at::empty(entry.at(2).get<std::vector<std::int64_t>>(), dtype);
    if (!receive_all(fd, tensor.mutable_data_ptr(), tensor.nbytes())) throw_lost(from);
    parcel.tensors.push_back({entry.at(0).get<std::string>(), std::move(tensor)});
  }
  if (!parcel.json.contains("error")) return parcel;
  const Error error = Error::from_json(parcel.json.at("error"));
  if (error.reason() == "ENGINE_CRASH") throw_lost(from);  // of a third one
  throw error;
}

// The first process is to say what began it: one that failed tells it, while others just miss that one.
void Team::throw_lost(int rank) {
  links_[static_cast<std::size_t>(rank)].reset();
  for (std::size_t other = 0; first() && other < links_.size(); ++other)
    while (links_[other] && has_arrived(links_[other].get())) receive(static_cast<int>(other));
  if (lost_) throw lost_(rank);
  throw Error(ErrorCode::kInternal, "ENGINE_CRASH",
              "process " + std::to_string(rank + 1) + " of the job's " + std::to_string(size()) + " is gone");
}

Parcel Team::share(int from, Parcel parcel) {
  if (rank_ != from) return receive(from);
  for (int to = 0; to < size(); ++to)
    if (to != rank_) send(to, parcel);
  return parcel;
}

void Team::add_up(std::vector<at::Tensor>& tensors) {
  if (alone()) return;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const int owner = static_cast<int>(i % links_.size());
    const auto parcel_of = [](const at::Tensor& tensor) {
      Parcel parcel;
      if (tensor.defined()) parcel.tensors.push_back({"", tensor});
      return parcel;
    };
    if (rank_ != owner) send(owner, parcel_of(tensors[i]));
    at::Tensor sum;
    for (int rank = 0; rank_ == owner && rank < size(); ++rank) {
      at::Tensor next = tensors[i];
      if (rank != rank_) {
        const Parcel parcel = receive(rank);
        next = parcel.tensors.empty() ? at::Tensor() : parcel.tensors.front().tensor;
      }
      if (!next.defined()) continue;
      sum = sum.defined() ? sum + next.to(sum.device()) : next;
    }
    const Parcel all = share(owner, parcel_of(sum));
    if (!all.tensors.empty())
      tensors[i] = tensors[i].defined() ? all.tensors.front().tensor.to(tensors[i].device())
                                        : all.tensors.front().tensor;
  }
}

void Team::fail(const Error& error) {
  const std::string head = head_of({{{"error", error.to_json()}}, {}}).dump();
  const std::uint64_t length = head.size();
  if (send_all(links_[0].get(), &length, sizeof length)) send_all(links_[0].get(), head.data(), head.size());
}

}  // namespace wring
