// Calls about sweeps.
#include "client/client.h"
#include "client/connection.h"

namespace wring {
namespace {

constexpr double kCheckSeconds = 600;  // of a space with many corners

}  // namespace

v1::Sweep Client::submit_sweep(const v1::SubmitSweepRequest& request) {
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::SubmitSweep, request, kCheckSeconds);
}

v1::Sweep Client::sweep(const std::string& id) {
  v1::GetSweepRequest request;
  request.set_id(id);
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::GetSweep, request);
}

v1::ListSweepsResponse Client::sweeps(const v1::ListSweepsRequest& request) {
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::ListSweeps, request);
}

std::vector<v1::Trial> Client::trials(const std::string& id) {
  std::vector<v1::Trial> trials;
  v1::ListTrialsRequest request;
  request.set_id(id);
  request.set_page_size(1000);
  do {
    const auto page = connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::ListTrials, request);
    trials.insert(trials.end(), page.trials().begin(), page.trials().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return trials;
}

v1::QueryFrontResponse Client::front(const v1::QueryFrontRequest& request) {
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::QueryFront, request);
}

v1::Sweep Client::pause_sweep(const std::string& id) {
  v1::PauseSweepRequest request;
  request.set_id(id);
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::PauseSweep, request);
}

v1::Sweep Client::resume_sweep(const std::string& id) {
  v1::ResumeSweepRequest request;
  request.set_id(id);
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::ResumeSweep, request);
}

v1::Sweep Client::stop_sweep(const std::string& id) {
  v1::StopSweepRequest request;
  request.set_id(id);
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::StopSweep, request);
}

v1::Sweep Client::cancel_sweep(const std::string& id) {
  v1::CancelSweepRequest request;
  request.set_id(id);
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::CancelSweep, request);
}

v1::Sweep Client::extend_sweep(const v1::ExtendSweepRequest& request) {
  return connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::ExtendSweep, request);
}

void Client::remove_sweep(const std::string& id) {
  v1::DeleteSweepRequest request;
  request.set_id(id);
  connection_->call(*connection_->sweeps, &v1::Sweeps::Stub::DeleteSweep, request);
}

}  // namespace wring
