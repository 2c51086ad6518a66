// The HTTP side, byte by byte over a socket.
#include <boost/asio/ip/tcp.hpp>
#include <sstream>

#include "common/json.h"
#include "tests/server/test_service.h"

namespace wring {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

struct Answer {
  int status = 0;
  std::string headers, body;
  Json json() const { return Json::parse(body); }
};

class Http : public Service {
 protected:
  // Sends these bytes and reads to the end of the connection.
  Answer send(const std::string& request) {
    boost::asio::ip::tcp::iostream stream("127.0.0.1", std::to_string(server_->http.port()));
    stream.expires_after(std::chrono::seconds(10));
    stream << request << std::flush;
    std::ostringstream all;
    all << stream.rdbuf();
    const auto text = all.str();
    const auto split = text.find("\r\n\r\n");
    Answer answer;
    if (text.size() > 12) answer.status = std::stoi(text.substr(9, 3));
    answer.headers = text.substr(0, split);
    if (split != std::string::npos) answer.body = text.substr(split + 4);
    return answer;
  }

  Answer get(const std::string& target) {
    return send("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
};

TEST_F(Http, SaysThatItIsHealthy) {
  EXPECT_EQ(get("/healthz").status, 200);
}

TEST_F(Http, ShowsAJobItsEventsAndItsRows) {
  const auto job = submit();
  add_worker();
  auto end = ending(lease(), "succeeded");
  *end.add_evaluations() = row("perplexity", 12.5);
  finish(end);
  const auto list = get("/api/v1/jobs?state=succeeded&page_size=10").json();
  ASSERT_THAT(list["jobs"], SizeIs(1));
  EXPECT_EQ(list["jobs"][0]["id"], job.id());
  const auto one = get("/api/v1/jobs/" + job.id().substr(0, 5));
  EXPECT_THAT(one.headers, HasSubstr("application/json"));
  EXPECT_EQ(one.json()["state"], "JOB_STATE_SUCCEEDED");
  EXPECT_EQ(one.json()["evaluations"][0]["value"], 12.5);
  const auto events = get("/api/v1/jobs/" + job.id() + "/events?after=1").json();
  ASSERT_THAT(events["events"], SizeIs(2));
  EXPECT_EQ(events["events"][0]["type"], "leased");
  EXPECT_EQ(events["events"][1]["type"], "succeeded");
  EXPECT_THAT(get("/api/v1/evaluations?job=" + job.id()).json()["evaluations"], SizeIs(1));
  EXPECT_THAT(get("/api/v1/evaluations?suite=size").json()["evaluations"], SizeIs(0));
}

TEST_F(Http, ShowsArtifactsWorkersAndMethods) {
  const auto digest = upload("content");
  add_worker();
  EXPECT_EQ(get("/api/v1/artifacts").json()["artifacts"][0]["digest"], digest);
  EXPECT_EQ(get("/api/v1/artifacts/" + digest.substr(0, 8)).json()["kind"], "model");
  EXPECT_EQ(get("/api/v1/workers").json()["workers"][0]["id"], "w");
  EXPECT_EQ(get("/api/v1/methods").json()["catalogue_digest"], Catalogue::embedded().digest().hex());
}

TEST_F(Http, CountsWhatHappensForPrometheus) {
  submit();
  const auto text = get("/metrics").body;
  EXPECT_THAT(text, HasSubstr("wring_jobs_submitted_total 1"));
  EXPECT_THAT(text, HasSubstr("wring_rpcs_total{code=\"OK\",method=\"SubmitJob\"} 1"));
}

TEST_F(Http, AnswersErrorsAsProblems) {
  const auto answer = get("/api/v1/jobs/nothing");
  EXPECT_EQ(answer.status, 404);
  EXPECT_THAT(answer.headers, HasSubstr("application/problem+json"));
  EXPECT_EQ(answer.json()["reason"], "JOB_NOT_FOUND");
  EXPECT_EQ(answer.json()["status"], 404);
  EXPECT_EQ(get("/api/v1/jobs?page_token=x").json()["field"], "page_token");
  EXPECT_EQ(get("/api/v1/jobs?state=sleeping").status, 400);
  EXPECT_EQ(get("/api/v1/jobs?page_size=-1").status, 400);
}

TEST_F(Http, LeadsNowhereElse) {
  for (const char* target :
       {"/", "/../../etc/passwd", "/api/v1/../../wring.db", "/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/artifacts/../../wring.db", "/blobs", "/api/v1/jobs/%00", "/api/v1/jobs//events"})
    EXPECT_EQ(get(target).status, 404) << target;
}

TEST_F(Http, RefusesWhatIsNotAGet) {
  const auto post =
      send("POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(post.status, 405);
  EXPECT_THAT(post.headers, HasSubstr("Allow: GET, HEAD"));
  EXPECT_EQ(send("nonsense\r\n\r\n").status, 400);
  const auto head = send("HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(Http, RefusesRequestsThatAreTooLargeAndStaysAlive) {
  const auto large = send("GET /healthz HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n");
  EXPECT_TRUE(large.status == 413 || large.status == 0)
      << large.status;  // 0: reset before the answer was read
  EXPECT_EQ(send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n").status, 413);
  EXPECT_EQ(get("/healthz").status, 200);
}

}  // namespace
}  // namespace wring
