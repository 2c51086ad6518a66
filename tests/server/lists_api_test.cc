// Lists of jobs, projects and workers through the API: filters, pages, and what the tokens of pages are bound
// to.
#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class Lists : public Service {};

TEST_F(Lists, OfProjectsComeInPages) {
  v1::PauseProjectRequest pause;
  for (const char* name : {"b", "c", "a"}) {
    pause.set_name(name);
    call(*projects_, &v1::Projects::Stub::PauseProject, pause);
  }
  std::vector<std::string> names;
  v1::ListProjectsRequest request;
  request.set_page_size(2);
  do {
    const auto page = call(*projects_, &v1::Projects::Stub::ListProjects, request);
    for (const auto& project : page.projects()) names.push_back(project.name());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(names, ElementsAre("a", "b", "c"));
}

TEST_F(Lists, OfJobsAreByStateAndNameInPages) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) {
    auto request = submission();
    request.mutable_spec()->set_name("job " + std::to_string(i));
    ids.push_back(submit(request).id());
  }
  cancel(ids[1]);
  v1::ListJobsRequest request;
  request.set_page_size(2);
  request.add_states(v1::JOB_STATE_QUEUED);
  std::vector<std::string> listed;
  do {
    const auto page = call(*jobs_, &v1::Jobs::Stub::ListJobs, request);
    for (const auto& job : page.jobs()) {
      listed.push_back(job.id());
      EXPECT_THAT(job.spec().recipe(), IsEmpty());
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(listed, ElementsAre(ids[4], ids[3], ids[2], ids[0]));
  v1::ListJobsRequest by_name;
  by_name.set_name_contains("job 3");
  EXPECT_THAT(call(*jobs_, &v1::Jobs::Stub::ListJobs, by_name).jobs(), SizeIs(1));
}

TEST_F(Lists, OfJobsAreByTheModelTheyWereGivenInPages) {
  const auto other = upload("another model");
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) {
    auto request = submission();
    if (i % 2 == 0) request.mutable_spec()->set_model(other);
    ids.push_back(submit(request).id());
  }
  cancel(ids[2]);
  v1::ListJobsRequest request;
  request.set_page_size(1);
  request.set_model(other);
  std::vector<std::string> listed;
  do {
    const auto page = call(*jobs_, &v1::Jobs::Stub::ListJobs, request);
    for (const auto& job : page.jobs()) listed.push_back(job.id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(listed, ElementsAre(ids[4], ids[2], ids[0]));
  request.add_states(v1::JOB_STATE_CANCELLED);
  const auto cancelled = call(*jobs_, &v1::Jobs::Stub::ListJobs, request);
  ASSERT_THAT(cancelled.jobs(), SizeIs(1));
  EXPECT_EQ(cancelled.jobs(0).id(), ids[2]);
  request.set_model(other.substr(0, 12));
  EXPECT_THAT(call(*jobs_, &v1::Jobs::Stub::ListJobs, request).jobs(), IsEmpty());
}

TEST_F(Lists, OfJobsAreByTheProjectTheyBelongTo) {
  auto request = submission();
  EXPECT_EQ(submit(request).spec().project(), "default");
  EXPECT_EQ(submit(request).spec().project(), "default");  // told again
  auto other = submission();
  other.mutable_spec()->set_project("vision-2");
  const auto id = submit(other).id();
  v1::ListJobsRequest list;
  list.set_project("vision-2");
  const auto page = call(*jobs_, &v1::Jobs::Stub::ListJobs, list);
  ASSERT_THAT(page.jobs(), SizeIs(1));
  EXPECT_EQ(page.jobs(0).id(), id);
  EXPECT_EQ(page.jobs(0).spec().project(), "vision-2");
}

TEST_F(Lists, OfWorkersComeInPages) {
  for (const char* id : {"c", "a", "b"}) add_worker(id);
  std::vector<std::string> listed;
  v1::ListWorkersRequest request;
  request.set_page_size(2);
  do {
    const auto page = call(*workers_, &v1::Workers::Stub::ListWorkers, request);
    for (const auto& worker : page.workers()) listed.push_back(worker.id());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(listed, ElementsAre("a", "b", "c"));
  request.set_page_token("p1");
  EXPECT_EQ(thrown_by([&] { call(*workers_, &v1::Workers::Stub::ListWorkers, request); }).field(),
            "page_token");
}

}  // namespace
}  // namespace wring
