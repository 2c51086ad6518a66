// The HTTP side, byte by byte over a socket.
#include <zlib.h>

#include <boost/asio/ip/tcp.hpp>
#include <sstream>
#include <thread>

#include "common/json.h"
#include "server/http/rules.h"
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

  // `headers`: each with its line end.
  Answer get(const std::string& target, const std::string& headers = {},
             const std::string& host = "localhost") {
    return send("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + headers +
                "\r\n");
  }

  Answer post(const std::string& target, const std::string& body,
              const std::string& headers = "Content-Type: application/json\r\n",
              const std::string& host = "localhost") {
    return send("POST", target, body, headers, host);
  }

  Answer send(const std::string& verb, const std::string& target, const std::string& body,
              const std::string& headers = {}, const std::string& host = "localhost") {
    return send(verb + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + headers +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  static std::string unpacked(const std::string& gzip) {
    z_stream stream{};
    EXPECT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
    std::string text(4 << 20, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gzip.data()));
    stream.avail_in = static_cast<uInt>(gzip.size());
    stream.next_out = reinterpret_cast<Bytef*>(text.data());
    stream.avail_out = static_cast<uInt>(text.size());
    EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
    text.resize(stream.total_out);
    inflateEnd(&stream);
    return text;
  }

  static std::string header(const Answer& answer, const std::string& name) {
    const auto at = answer.headers.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const auto from = at + name.size() + 4;
    return answer.headers.substr(from, answer.headers.find("\r\n", from) - from);
  }

  Json body_of_submit() {
    return {{"request_id", random_uuid()},
            {"spec", {{"name", "<script>"}, {"recipe", "rtn(bits=4)"}, {"model", upload("a model")}}}};
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
  const auto list =
      get("/api/v1/jobs?states=JOB_STATE_SUCCEEDED&states=JOB_STATE_FAILED&page_size=10").json();
  ASSERT_THAT(list["jobs"], SizeIs(1));
  EXPECT_EQ(list["jobs"][0]["id"], job.id());
  const auto one = get("/api/v1/jobs/" + job.id().substr(0, 9));
  EXPECT_THAT(one.headers, HasSubstr("application/json"));
  EXPECT_EQ(one.json()["state"], "JOB_STATE_SUCCEEDED");
  EXPECT_EQ(one.json()["evaluations"][0]["value"], 12.5);
  const auto events = get("/api/v1/jobs/" + job.id() + "/events?after=1").json();
  ASSERT_THAT(events["events"], SizeIs(2));
  EXPECT_EQ(events["events"][0]["type"], "leased");
  EXPECT_EQ(events["events"][1]["type"], "succeeded");
  EXPECT_THAT(get("/api/v1/evaluations?job_id=" + job.id()).json()["evaluations"], SizeIs(1));
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
  EXPECT_EQ(get("/api/v1/jobs?states=SLEEPING").json()["field"], "states");
  EXPECT_THAT(get("/api/v1/jobs?states=SLEEPING").json()["hint"].get<std::string>(),
              HasSubstr("JOB_STATE_QUEUED"));
  EXPECT_EQ(get("/api/v1/jobs?state=queued").json()["reason"], "UNKNOWN_PARAMETER");
  for (const char* query : {"page_size=ten", "page_size=99999999999", "project=%ff", "%ff=1"})
    EXPECT_EQ(get(std::string("/api/v1/jobs?") + query).json()["reason"], "BAD_QUERY") << query;
  EXPECT_EQ(get("/api/v1/jobs?page_size=-1").status, 400);
}

TEST_F(Http, LeadsNowhereElse) {
  for (const char* target :
       {"/", "/../../etc/passwd", "/api/v1/../../wring.db", "/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/artifacts/../../wring.db", "/blobs", "/api/v1/jobs/%00", "/api/v1/jobs//events"})
    EXPECT_EQ(get(target).status, 404) << target;
}

TEST_F(Http, RefusesMethodsThatAPathDoesNotAnswerTo) {
  EXPECT_EQ(send("PUT", "/api/v1/jobs", "").status, 405);
  EXPECT_EQ(header(send("PUT", "/api/v1/jobs", ""), "Allow"), "GET, HEAD, POST");
  EXPECT_EQ(header(send("PATCH", "/api/v1/jobs", ""), "Allow"), "GET, HEAD, POST, PUT, DELETE");
  EXPECT_EQ(header(send("PUT", "/api/v1/jobs/nothing", ""), "Allow"), "GET, HEAD, DELETE");
  EXPECT_EQ(header(post("/api/v1/openapi.json", "{}"), "Allow"), "GET, HEAD");
  EXPECT_EQ(header(post("/api/v1/workers", "{}"), "Allow"), "GET, HEAD");
  EXPECT_EQ(header(get("/api/v1/recipes/validate"), "Allow"), "POST");
  EXPECT_EQ(send("nonsense\r\n\r\n").status, 400);
  const auto head = send("HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(header(head, "Content-Length"), std::to_string(get("/healthz").body.size()));
  EXPECT_EQ(head.body, "");
}

TEST_F(Http, SubmitsAJobOnceForARequestId) {
  const auto body = body_of_submit();
  const auto job = post("/api/v1/jobs", body.dump());
  ASSERT_EQ(job.status, 200) << job.body;
  EXPECT_EQ(job.json()["state"], "JOB_STATE_QUEUED");
  EXPECT_EQ(job.json()["spec"]["name"], "<script>");
  EXPECT_EQ(post("/api/v1/jobs", body.dump()).json()["id"], job.json()["id"]);
  auto other = body;
  other["spec"]["name"] = "another";
  EXPECT_EQ(post("/api/v1/jobs", other.dump()).status, 409);
  EXPECT_THAT(get("/api/v1/jobs").json()["jobs"], SizeIs(1));
}

TEST_F(Http, ValidatesWithoutAJobAndNamesTheField) {
  const auto validate = [&](const char* recipe) {
    return post("/api/v1/recipes/validate", Json{{"recipe", recipe}}.dump());
  };
  const auto good = validate("gptq(bits=4)").json();
  EXPECT_EQ(good["recipe_digest"], parse_recipe("gptq(bits=4)").digest().hex());
  EXPECT_EQ(good["data_names"], Json::array({"calibration"}));
  EXPECT_EQ(validate("gptq(bits=9)").status, 400);
  EXPECT_EQ(
      validate("quant_stage: {quant_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}}}").status,
      400);
  EXPECT_EQ(validate("gptq(bits=9)").json()["field"], "stages[0].params.bits");
  auto job = body_of_submit();
  job["validate_only"] = true;
  EXPECT_EQ(post("/api/v1/jobs", job.dump()).status, 200);
  job["spec"]["model"] = std::string(64, 'f');
  EXPECT_EQ(post("/api/v1/jobs", job.dump()).json()["field"], "spec.model");
  EXPECT_THAT(get("/api/v1/jobs").json()["jobs"], SizeIs(0));
}

TEST_F(Http, CancelsAndRetriesUnderAnEtag) {
  const auto job = submit();
  const auto path = "/api/v1/jobs/" + job.id();
  EXPECT_EQ(post(path + "/cancel", R"({"etag": "999"})").status, 409);
  EXPECT_EQ(post(path + "/cancel", Json{{"etag", job.etag()}}.dump()).json()["state"], "JOB_STATE_CANCELLED");
  EXPECT_EQ(post(path + "/retry", "{}").json()["state"], "JOB_STATE_QUEUED");
  EXPECT_EQ(post("/api/v1/jobs/nothing/cancel", "{}").status, 404);
}

TEST_F(Http, RefusesBodiesThatAreNoRequest) {
  EXPECT_EQ(post("/api/v1/jobs", "{").json()["reason"], "MALFORMED_JSON");
  const auto refusal = [&](const char* body) {
    const auto said = post("/api/v1/jobs", body).json();
    EXPECT_EQ(said["reason"], "MALFORMED_REQUEST") << body;
    return said["field"].get<std::string>() + ": " + said["detail"].get<std::string>();
  };
  EXPECT_EQ(refusal(R"({"spek": {}})"), "spek: there is no such member");
  EXPECT_EQ(refusal(R"({"spec": {"nane": 1}})"), "spec.nane: there is no such member");
  EXPECT_EQ(refusal(R"({"spec": {"seed": "many"}})"),
            "spec.seed: \"many\" is not a whole number from 0 on of 64 bits");
  EXPECT_EQ(refusal(R"({"spec": {"priority": 1.5}})"), "spec.priority: 1.5 is not a whole number of 32 bits");
  EXPECT_EQ(refusal(R"({"spec": {"seed": {}}})"), "spec.seed: it takes one value, not an object");
  EXPECT_EQ(refusal(R"({"spec": {"seed": [1]}})"), "spec.seed: it takes one value, not a list");
  EXPECT_EQ(refusal(R"x({"(x)": 1})x"), "(x): there is no such member");
  EXPECT_EQ(refusal(R"({"request_id": {"a": 1}})"), "request_id: it takes one value, not an object");
  EXPECT_EQ(refusal(R"({"spec": {"data": 5}})").substr(0, 22), "spec.data: 5 is not a ");
  EXPECT_EQ(post("/api/v1/jobs", std::string(5000, '[')).status, 400);
  EXPECT_EQ(post("/api/v1/jobs", "").json()["reason"], "MALFORMED_RECIPE");
  EXPECT_EQ(send("POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n").status,
            413);
}

// Each of these is what a browser sends for a page that is not ours.
TEST_F(Http, ChangesNothingForAPageOfAnotherSite) {
  const std::string json = "Content-Type: application/json\r\n", body = body_of_submit().dump();
  for (const std::string& foreign :
       {json + "Origin: http://evil.example\r\n", json + "Origin: null\r\n",
        json + "Origin: http://localhost:81\r\n", json + "Origin: http://localhost.evil.example\r\n",
        json + "Sec-Fetch-Site: cross-site\r\n", json + "Sec-Fetch-Site: same-site\r\n",
        std::string("Content-Type: text/plain\r\n"), std::string(),
        std::string("Content-Type: application/x-www-form-urlencoded\r\n")})
    EXPECT_THAT(post("/api/v1/jobs", body, foreign).status, testing::AnyOf(403, 415)) << foreign;
  EXPECT_THAT(get("/api/v1/jobs").json()["jobs"], SizeIs(0));
  const auto preflight = send(
      "OPTIONS /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n"
      "Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(preflight.status, 405);
  EXPECT_THAT(preflight.headers, testing::Not(HasSubstr("Access-Control")));
  EXPECT_EQ(
      post("/api/v1/jobs", body, json + "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n").status,
      200);
}

TEST_F(Http, AnswersToNoNameButItsOwn) {
  submit();
  for (const char* host :
       {"evil.example", "evil.example:7480", "127.0.0.1.evil.example", "localhost.evil.example", ""}) {
    EXPECT_EQ(get("/api/v1/jobs", "", host).status, 403) << host;
    EXPECT_EQ(post("/api/v1/jobs", "{}", "Content-Type: application/json\r\n", host).status, 403) << host;
  }
  for (const char* host :
       {"localhost", "LOCALHOST:7480", "127.0.0.1", "127.0.0.1:7480", "[::1]:7480", "10.1.2.3"})
    EXPECT_EQ(get("/api/v1/jobs", "", host).status, 200) << host;
  EXPECT_EQ(get("/metrics", "", "evil.example").status, 403) << "a page may call itself so, and read them";
  EXPECT_EQ(get("/healthz", "", "whatever").status, 200);
  routes_.names = {"wring.example"};
  start();
  EXPECT_EQ(get("/api/v1/jobs", "", "Wring.Example:7480").status, 200);
}

TEST_F(Http, APollThatFindsNothingNewIsA304WithoutABody) {
  const auto job = submit();
  for (const std::string& path :
       {std::string("/api/v1/jobs"), "/api/v1/jobs/" + job.id(), "/api/v1/jobs/" + job.id() + "/events",
        std::string("/api/v1/methods"), "/api/v1/artifacts/" + job.spec().model()}) {
    const auto first = get(path);
    ASSERT_EQ(first.status, 200) << path;
    const auto tag = header(first, "ETag");
    ASSERT_FALSE(tag.empty()) << path;
    const auto second = get(path, "If-None-Match: W/\"other\", " + tag + "\r\n");
    EXPECT_EQ(second.status, 304) << path;
    EXPECT_EQ(second.body, "");
    EXPECT_EQ(header(second, "ETag"), tag);
    const auto strong = get(path, "If-None-Match: " + tag.substr(tag.find('"')) + "\r\n");
    EXPECT_EQ(strong.status, 304) << "tags are compared weakly";
  }
  const auto list = get("/api/v1/jobs"), one = get("/api/v1/jobs/" + job.id());
  cancel(job.id());
  EXPECT_EQ(get("/api/v1/jobs", "If-None-Match: " + header(list, "ETag") + "\r\n").status, 200);
  EXPECT_EQ(get("/api/v1/jobs/" + job.id(), "If-None-Match: " + header(one, "ETag") + "\r\n").status, 200);
}

TEST_F(Http, ProgressThatIsNotStoredIsNewsToAPoll) {
  const auto job = submit();
  add_worker();
  const auto leased = lease();
  report(leased, 0, "running");
  const auto poll = [&](const std::string& tag) {
    return get("/api/v1/jobs/" + job.id(), "If-None-Match: " + tag + "\r\n");
  };
  const auto tag = header(poll("none"), "ETag");
  EXPECT_EQ(poll(tag).status, 304);
  v1::Progress progress;
  progress.set_done(1);
  progress.set_total(2);
  heartbeat(leased, progress);
  EXPECT_EQ(poll(tag).status, 200);
}

// The order of a protobuf map is another in each message.
TEST_F(Http, PacksAnswersForAskersWhoTakeThatUnderTheSameTag) {
  const auto plain = get("/api/v1/methods?page_size=1000");
  for (const char* taken : {"gzip", "br, GZIP;q=0.5", "*"}) {
    const auto packed =
        get("/api/v1/methods?page_size=1000", "Accept-Encoding: " + std::string(taken) + "\r\n");
    EXPECT_EQ(header(packed, "Content-Encoding"), "gzip") << taken;
    EXPECT_EQ(header(packed, "Vary"), "Accept-Encoding");
    EXPECT_LT(packed.body.size() * 3, plain.body.size());
    EXPECT_EQ(unpacked(packed.body), plain.body);
    EXPECT_EQ(header(packed, "ETag"), header(plain, "ETag"));
  }
  for (const char* refused : {"identity", "gzip;q=0, *", "br", "*;q=0"})
    EXPECT_EQ(
        get("/api/v1/methods", "Accept-Encoding: " + std::string(refused) + "\r\n").headers.find("gzip"),
        std::string::npos)
        << refused;
  EXPECT_EQ(header(get("/api/v1/workers", "Accept-Encoding: gzip\r\n"), "Content-Encoding"),
            "");  // too short
  EXPECT_EQ(get("/api/v1/methods?page_size=1000",
                "Accept-Encoding: gzip\r\nIf-None-Match: " + header(plain, "ETag") + "\r\n")
                .status,
            304);
}

TEST_F(Http, TheTagOfAJobStaysWhileNothingChanges) {
  auto request =
      submission("gptq(bits=4, data=a) | gptq(bits=4, data=b) | gptq(bits=4, data=c) | gptq(bits=4, data=d)");
  for (const char* name : {"a", "b", "c", "d"})
    (*request.mutable_spec()->mutable_data())[name] = upload(name);
  const auto path = "/api/v1/jobs/" + submit(request).id();
  const auto tag = header(get(path), "ETag");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(header(get(path), "ETag"), tag);
}

TEST_F(Http, NamesTheBlobsThatAManifestMisses) {
  Manifest manifest;
  manifest.kind = "model";
  manifest.files = {{"a", 3, {{sha256("aaa"), 3}}}, {"b", 3, {{sha256("bbb"), 3}}}};
  const auto refused = post("/api/v1/artifacts", Json{{"manifest_json", manifest.canonical()}}.dump());
  EXPECT_EQ(refused.status, 409);
  EXPECT_THAT(parse_json(refused.body, "").at("missing").get<std::vector<std::string>>(),
              testing::UnorderedElementsAre(sha256("aaa").hex(), sha256("bbb").hex()));
}

TEST_F(Http, ServesAFileOfAnArtifactWholeAndInRanges) {
  const std::string first(3000, 'a'), second(2000, 'b');
  for (const auto& blob : {first, second}) write_blob(pieces(blob, random_uuid(), 0, blob.size()));
  Manifest manifest;
  manifest.kind = "model";
  manifest.files = {{"sub/c++ weights.bin", 5000, {{sha256(first), 3000}, {sha256(second), 2000}}}};
  v1::CommitArtifactRequest request;
  request.set_manifest_json(manifest.canonical());
  const auto path = "/api/v1/artifacts/" +
                    call(*artifacts_, &v1::Artifacts::Stub::CommitArtifact, request).digest() + "/files/";
  const auto whole = get(path + "sub/c++%20weights.bin");
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, first + second);
  EXPECT_EQ(header(whole, "Content-Disposition"), "attachment; filename=\"c++ weights.bin\"");
  const auto part = get(path + "sub%2fc++%20weights.bin", "Range: bytes=2998-3001\r\n");
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "aabb");
  EXPECT_EQ(header(part, "Content-Range"), "bytes 2998-3001/5000");
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", "Range: bytes=-3\r\n").body, "bbb");
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", "Range: bytes=4999-\r\n").body, "b");
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", "Range: bytes=4998-9999\r\n").body, "bb");
  const auto beyond = get(path + "sub/c++%20weights.bin", "Range: bytes=5000-\r\n");
  EXPECT_EQ(beyond.status, 416);
  EXPECT_EQ(header(beyond, "Content-Range"), "bytes */5000");
  const std::string tag = header(beyond, "ETag").empty() ? header(part, "ETag") : "",
                    range = "Range: bytes=1-2\r\n";
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", range + "If-None-Match: " + tag + "\r\n").status, 304);
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", range + "If-Range: " + tag + "\r\n").status, 206);
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", range + "If-Range: \"old\"\r\n").status, 200);
  EXPECT_EQ(send("HEAD", path + "sub/c++%20weights.bin", "", range).status, 200) << "ranges are of GET alone";
  EXPECT_EQ(header(part, "Cache-Control"), "private, no-cache")
      << "the next user of a browser asks the server";
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", "Range: bytes=0-1,3-4\r\n").status, 200);
  EXPECT_EQ(get(path + "sub/c++%20weights.bin", "If-None-Match: " + header(whole, "ETag") + "\r\n").status,
            304);
  for (const char* name : {"", "c++%20weights.bin", "sub", "sub/../sub/c++%20weights.bin", "../../wring.db"})
    EXPECT_EQ(get(path + name).status, 404) << name;
}

TEST_F(Http, ServesAFileOfSeveralMegabytes) {
  std::string content;
  for (int i = 0; content.size() < 3'000'000; ++i) content += std::to_string(i);
  const auto answer = get("/api/v1/artifacts/" + upload(content) + "/files/file");
  EXPECT_EQ(answer.body.size(), content.size());
  EXPECT_EQ(sha256(answer.body), sha256(content));
}

TEST_F(Http, CutsADownloadWhoseBlobIsDamaged) {
  const auto digest = upload("content");
  const auto blob = sha256("content").hex();
  write_file_atomic(folder_.path() / "blobs" / blob.substr(0, 2) / blob, "CONTENT");
  const auto answer = get("/api/v1/artifacts/" + digest + "/files/file");
  EXPECT_EQ(header(answer, "Content-Length"), "7");
  EXPECT_EQ(answer.body, "");
}

TEST_F(Http, ServesThePageByHashedNamesUnderAStrictPolicy) {
  const auto page = folder_.path() / "page";
  std::filesystem::create_directories(page / "assets");
  write_file_atomic(page / "index.html", "<!doctype html>");
  write_file_atomic(page / "assets/app-1a2b.js", "script");
  write_file_atomic(page / "assets/app-1a2b.js.gz", "packed");
  routes_.page = page;
  start();
  for (const char* path : {"/", "/jobs", "/jobs/abc", "/compare?jobs=a,b", "/artifacts/12"}) {
    const auto answer = get(path);
    EXPECT_EQ(answer.body, "<!doctype html>") << path;
    EXPECT_THAT(header(answer, "Content-Security-Policy"), HasSubstr("script-src 'self'; style-src 'self';"));
    EXPECT_THAT(answer.headers, testing::Not(HasSubstr("unsafe")));
    EXPECT_EQ(header(answer, "Cache-Control"), "no-cache");
  }
  const auto script = get("/assets/app-1a2b.js");
  EXPECT_EQ(script.body, "script");
  EXPECT_THAT(header(script, "Cache-Control"), HasSubstr("immutable"));
  const auto packed = get("/assets/app-1a2b.js", "Accept-Encoding: br, gzip\r\n");
  EXPECT_EQ(packed.body, "packed");
  EXPECT_EQ(header(packed, "Content-Encoding"), "gzip");
  EXPECT_NE(header(packed, "ETag"), header(script, "ETag"));
  EXPECT_EQ(get("/", "If-None-Match: " + header(get("/"), "ETag") + "\r\n").status, 304);
  for (const char* path : {"/assets/none.js", "/assets/../../wring.db", "/elsewhere", "/assets"})
    EXPECT_EQ(get(path).status, 404) << path;
  const auto lost = get("/elsewhere", "Accept: text/html,*/*\r\n");
  EXPECT_EQ(lost.status, 404);
  EXPECT_EQ(lost.body, "<!doctype html>") << "a person is told by the page";
}

TEST_F(Http, SaysHowToBuildThePageWhereThereIsNone) {
  const auto answer = get("/");
  EXPECT_EQ(answer.status, 404);
  EXPECT_THAT(answer.body, HasSubstr("scripts/build"));
}

TEST_F(Http, RefusesRequestsThatAreTooLargeAndStaysAlive) {
  const auto large = send("GET /healthz HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n");
  EXPECT_TRUE(large.status == 431 || large.status == 0)
      << large.status;  // 0: reset before the answer was read
  EXPECT_EQ(send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n").status, 413);
  EXPECT_EQ(get("/healthz").status, 200);
}

TEST_F(Http, TimesRequestsByRouteHoweverTheyEnd) {
  for (const char* path : {"/api/v1/jobs", "/api/v1/jobs/nothing", "/a", "/b", "/healthz"}) get(path);
  const auto text = get("/metrics").body;
  EXPECT_THAT(text, HasSubstr("wring_http_seconds_count{route=\"ListJobs\"} 1"));
  EXPECT_THAT(text, HasSubstr("wring_http_seconds_count{route=\"GetJob\"} 1"));
  EXPECT_THAT(text, HasSubstr("wring_http_seconds_count{route=\"page\"} 2"));
  EXPECT_THAT(text, HasSubstr("wring_http_seconds_count{route=\"healthz\"} 1"));
  EXPECT_THAT(text, HasSubstr("wring_http_requests_total{route=\"ListJobs\",status=\"200\"} 1"));
  EXPECT_THAT(text, HasSubstr("wring_http_requests_total{route=\"GetJob\",status=\"404\"} 1"));
}

TEST_F(Http, AnswersUnderTheRequestIdThatItIsGivenAlsoWhereItFails) {
  EXPECT_EQ(header(get("/api/v1/jobs/nothing", "X-Request-Id: mine-1\r\n"), "X-Request-Id"), "mine-1");
  EXPECT_EQ(header(get("/healthz", "X-Request-Id: <script>\r\n"), "X-Request-Id").size(), 12u);
}

TEST_F(Http, PausesResumesAndDeletesAJob) {
  const auto job = submit();
  const auto path = "/api/v1/jobs/" + job.id();
  EXPECT_EQ(post(path + "/pause", "{}").json()["paused"], true);
  EXPECT_EQ(post(path + "/resume", "{}").json()["paused"], false);
  EXPECT_EQ(send("DELETE", path, "").json()["reason"], "JOB_NOT_ENDED");
  const std::string etag = post(path + "/cancel", "{}").json()["etag"];
  EXPECT_EQ(send("DELETE", path + "?etag=1", "").status, 409);
  EXPECT_EQ(send("DELETE", path + "?etag=" + etag, "", "Origin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(get(path).status, 200);
  EXPECT_EQ(send("DELETE", path + "?etag=" + etag, "").status, 200);
  EXPECT_EQ(get(path).status, 404);
}

TEST_F(Http, SaysHowManyJobsGoFirst) {
  const auto first = submit(), second = submit();
  EXPECT_EQ(get("/api/v1/jobs/" + first.id()).json()["ahead"], 0);
  EXPECT_EQ(get("/api/v1/jobs/" + second.id()).json()["ahead"], 1);
  post("/api/v1/jobs/" + first.id() + "/pause", "{}");
  EXPECT_EQ(get("/api/v1/jobs/" + first.id()).json()["ahead"], 0);
  EXPECT_EQ(get("/api/v1/jobs/" + second.id()).json()["ahead"], 0);
}

TEST_F(Http, TakesABlobInPiecesAndMakesAnArtifactOfIt) {
  const std::string content = "the content of a file", octets = "Content-Type: application/octet-stream\r\n";
  const auto digest = sha256(content).hex(), path = "/api/v1/blobs/" + digest;
  EXPECT_EQ(post("/api/v1/blobs/missing", Json{{"digests", {digest}}}.dump()).json()["missing"][0], digest);
  const auto put = [&](std::size_t from, const std::string& bytes, const std::string& headers) {
    return send("PUT",
                path + "?upload_id=u-1&size=" + std::to_string(content.size()) +
                    "&write_offset=" + std::to_string(from),
                bytes, headers);
  };
  EXPECT_EQ(put(0, content.substr(0, 10), octets).json()["committed_size"], "10");
  EXPECT_EQ(get(path).status, 404);
  EXPECT_EQ(get(path + "/uploads/u-1").json()["committed_size"], "10");
  EXPECT_EQ(put(0, content, octets).json()["reason"], "WRITE_OFFSET");
  EXPECT_EQ(put(10, content.substr(10), "Content-Type: application/json\r\n").status, 415);
  EXPECT_EQ(put(10, content.substr(10), octets + "Origin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(put(10, content.substr(10), octets).json()["committed_size"], std::to_string(content.size()));
  EXPECT_EQ(get(path + "/uploads/u-1").json()["complete"], true);
  EXPECT_EQ(get(path).body, content);
  EXPECT_EQ(get(path + "?offset=4&limit=7").body, "content");
  Manifest manifest;
  manifest.kind = "dataset";
  manifest.files = {{"file", content.size(), {{sha256(content), content.size()}}}};
  const auto made =
      post("/api/v1/artifacts", Json{{"manifest_json", manifest.canonical()}, {"name", "by http"}}.dump())
          .json();
  const std::string artifact = "/api/v1/artifacts/" + made["digest"].get<std::string>();
  EXPECT_EQ(get(artifact + "/files/file").body, content);
  EXPECT_EQ(post(artifact + "/retention", R"({"pinned": true})").json()["pinned"], true);
  EXPECT_EQ(send("DELETE", artifact, "").json()["reason"], "ARTIFACT_PINNED");
  post(artifact + "/retention", "{}");
  EXPECT_EQ(send("DELETE", artifact, "").status, 200);
  EXPECT_EQ(get(artifact).status, 404);
}

TEST_F(Http, RefusesBytesThatAreNotThoseOfTheDigest) {
  const auto answer = send("PUT", "/api/v1/blobs/" + sha256("a").hex() + "?upload_id=u&size=1", "b",
                           "Content-Type: application/octet-stream\r\n");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json()["reason"], "DIGEST_MISMATCH");
}

TEST_F(Http, PausesAWorkerAndAProjectAndSetsAQuota) {
  add_worker();
  EXPECT_EQ(post("/api/v1/workers/w/pause", "{}").json()["paused"], true);
  EXPECT_EQ(post("/api/v1/workers/w/resume", "{}").json()["paused"], false);
  EXPECT_EQ(post("/api/v1/projects/red/pause", "{}").json()["paused"], true);
  EXPECT_EQ(post("/api/v1/projects/red/quota", R"({"quota": {"queued": 3}})").json()["quota"]["queued"], "3");
  EXPECT_EQ(get("/api/v1/projects").json()["projects"][0]["name"], "red");
}

TEST_F(Http, AnswersByTheTokensThatItMakes) {
  const auto admin = post("/api/v1/tokens", R"({"scope": "admin", "name": "me"})").json();
  const std::string as_admin = "Authorization: Bearer " + admin["secret"].get<std::string>() + "\r\n",
                    json = "Content-Type: application/json\r\n";
  EXPECT_EQ(get("/api/v1/tokens").status, 401);
  const auto list = get("/api/v1/tokens", as_admin);
  EXPECT_EQ(list.json()["tokens"][0]["name"], "me");
  EXPECT_THAT(list.body, testing::Not(HasSubstr(admin["secret"].get<std::string>())));
  const auto viewer = post("/api/v1/tokens", R"({"scope": "viewer"})", json + as_admin).json();
  const std::string as_viewer = "Authorization: Bearer " + viewer["secret"].get<std::string>() + "\r\n";
  EXPECT_EQ(get("/api/v1/jobs", as_viewer).status, 200);
  EXPECT_EQ(get("/api/v1/tokens", as_viewer).json()["reason"], "SCOPE");
  EXPECT_EQ(send("DELETE", "/api/v1/jobs/nothing", "", as_viewer).json()["reason"], "SCOPE");
  const std::string path = "/api/v1/tokens/" + viewer["token"]["id"].get<std::string>();
  EXPECT_EQ(post(path + "/revoke", "{}", json + as_admin).status, 200);
  EXPECT_EQ(get("/api/v1/jobs", as_viewer).json()["reason"], "TOKEN_REVOKED");
}

TEST_F(Http, ADownloadEndsWithTheTokenItBeganWith) {
  const auto digest = upload("content");
  const auto admin = post("/api/v1/tokens", R"({"scope": "admin", "name": "me"})").json();
  const auto handler = make_routes(server_->backend, {});
  HttpRequest request{
      .method = "GET", .target = "/api/v1/artifacts/" + digest + "/files/file", .host = "localhost"};
  request.authorization = "Bearer " + admin["secret"].get<std::string>();
  const auto before = handler(request), after = handler(request);
  EXPECT_EQ(before.next_piece(), "content");
  server_->tokens.revoke(admin["token"]["id"], server_->clock.now_ms());
  EXPECT_EQ(thrown_by([&] { after.next_piece(); }).reason(), "TOKEN_REVOKED");
  EXPECT_THAT(server_->metrics.text(), HasSubstr("wring_blob_bytes_total{direction=\"out\"} 7"));
}

TEST_F(Http, ALoginSetsACookieOfItsPortAndNoneWhereNobodyLogsIn) {
  const std::string json = "Content-Type: application/json\r\n";
  const auto open = post("/api/v1/login", Json{{"token", "a\r\nX-Evil: 1\r\n\r\n<b>"}}.dump(), json);
  EXPECT_EQ(open.status, 200);
  EXPECT_THAT(open.headers, testing::Not(HasSubstr("Evil")));
  EXPECT_EQ(header(open, "Set-Cookie"), "");
  const std::string secret = post("/api/v1/tokens", R"({"scope": "admin"})").json()["secret"];
  const auto login = post("/api/v1/login", Json{{"token", secret}}.dump(), json, "localhost:81");
  EXPECT_THAT(header(login, "Set-Cookie"), HasSubstr("wring_token_81=" + secret + ";"));
  const std::string cookie = "Cookie: wring_token_80=other; wring_token_81=" + secret + "\r\n";
  EXPECT_EQ(get("/api/v1/jobs", cookie, "localhost:81").status, 200);
  EXPECT_EQ(get("/api/v1/jobs", cookie, "localhost:80").status, 401);
}

TEST_F(Http, DescribesItselfInOpenApi) {
  const auto answer = get("/api/v1/openapi.json");
  EXPECT_EQ(answer.status, 200);
  const auto api = answer.json();
  EXPECT_EQ(api["openapi"], "3.1.0");
  std::size_t operations = 0;
  for (const auto& path : api["paths"]) operations += path.size();
  EXPECT_EQ(operations, http_rules().size() + 4);  // files, session, login, logout
  const auto& get_job = api["paths"]["/api/v1/jobs/{id}"]["get"];
  EXPECT_EQ(get_job["operationId"], "GetJob");
  EXPECT_EQ(get_job["parameters"][0]["in"], "path");
  EXPECT_EQ(get_job["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/Job");
  for (const auto& parameter :
       api["paths"]["/api/v1/jobs"]["get"]["parameters"]) {  // what the call refuses is not offered
    if (parameter["name"] == "states") EXPECT_EQ(parameter["schema"]["items"]["enum"][0], "JOB_STATE_QUEUED");
    if (parameter["name"] == "page_size") EXPECT_EQ(parameter["schema"]["minimum"], 0);
  }
  const auto& job = api["components"]["schemas"]["Job"]["properties"];
  EXPECT_EQ(job["trial"]["type"], "string");  // 64 bits
  EXPECT_EQ(job["id"]["type"], "string");
  EXPECT_EQ(job["worker"]["description"], "id of the worker that has or had it");
  const auto& cancel = api["paths"]["/api/v1/jobs/{id}/cancel"]["post"];
  const auto& body = cancel["requestBody"]["content"]["application/json"]["schema"]["properties"];
  EXPECT_TRUE(body.contains("etag"));
  EXPECT_FALSE(body.contains("id"));  // the path says it
  EXPECT_EQ(get("/api/v1/openapi.json", "If-None-Match: " + header(answer, "ETag") + "\r\n").status, 304);
}

class HttpSweeps : public Http {
 protected:
  Json submit_sweep() {
    const Json spec{
        {"sweep",
         "{name: s, recipe: {stages: [rtn], evaluations: [size]}, model: M, space: {stages.rtn.bits: "
         "[2, 3, 4, 8]}, objectives: [weight_bytes], bounds: {trials: 2}}"},
        {"inputs", {{"M", upload("a model")}}}};
    const auto answer = post("/api/v1/sweeps", Json{{"request_id", random_uuid()}, {"spec", spec}}.dump());
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json();
  }
};

TEST_F(HttpSweeps, AreSubmittedAndRead) {
  const std::string id = submit_sweep()["id"];
  const auto list = get("/api/v1/sweeps");
  ASSERT_THAT(list.json()["sweeps"], SizeIs(1));
  EXPECT_EQ(list.json()["sweeps"][0]["id"], id);
  EXPECT_EQ(get("/api/v1/sweeps/" + id.substr(0, 6)).json()["strategy"], "grid");
  EXPECT_EQ(get("/api/v1/sweeps/" + id + "/front").json()["any_feasible"], false);
  EXPECT_EQ(post("/api/v1/sweeps/" + id + "/front",
                 R"({"objectives": [{"metric": "weight_bytes", "maximise": true}]})")
                .json()["objectives"][0]["maximise"],
            true);
  Json trials;
  for (int i = 0; i < 500 && trials.size() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    trials = get("/api/v1/sweeps/" + id + "/trials?page_size=10").json()["trials"];
  }
  ASSERT_THAT(trials, SizeIs(2));
  const auto job = get("/api/v1/jobs/" + trials[1]["job_id"].get<std::string>()).json();
  EXPECT_EQ(job["spec"]["name"], "s/1");
  EXPECT_EQ(job["sweep"], id);
  EXPECT_EQ(job["trial"], "1");
  const auto again = get("/api/v1/sweeps/" + id);
  EXPECT_EQ(get("/api/v1/sweeps/" + id, "If-None-Match: " + header(again, "ETag") + "\r\n").status, 304);
}

TEST_F(HttpSweeps, ArePausedResumedExtendedStoppedAndCancelled) {
  const std::string at = "/api/v1/sweeps/" + submit_sweep()["id"].get<std::string>();
  EXPECT_EQ(post(at + "/pause", "{}").json()["state"], "SWEEP_STATE_PAUSED");
  EXPECT_EQ(post(at + "/resume", R"({"etag": "none"})").json()["reason"], "ETAG_MISMATCH");
  EXPECT_EQ(post(at + "/resume", "{}").json()["state"], "SWEEP_STATE_RUNNING");
  EXPECT_EQ(post(at + "/extend", R"({"more": {"trials": 1}})").json()["bounds"]["trials"], "3");
  EXPECT_EQ(post(at + "/stop", "{}").json()["state"], "SWEEP_STATE_STOPPING");
  EXPECT_THAT(post(at + "/cancel", "").status, testing::AnyOf(200, 409))
      << "409: it ended before its first trial";
  for (int i = 0; i < 500 && send("DELETE", at, "").status != 200; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(get(at).status, 404);
}

TEST_F(HttpSweeps, LeadNowhereElseAndAreGuardedAsJobsAre) {
  const std::string at = "/api/v1/sweeps/" + submit_sweep()["id"].get<std::string>();
  for (const auto& path : {at + "/nothing", at + "/trials/1", std::string("/api/v1/sweepsx")})
    EXPECT_EQ(get(path).status, 404) << path;
  EXPECT_EQ(get("/api/v1/sweeps/nothing").json()["reason"], "SWEEP_NOT_FOUND");
  EXPECT_EQ(header(get(at + "/pause"), "Allow"), "POST");
  EXPECT_EQ(post(at + "/trials", "{}").status, 405);
  EXPECT_EQ(post(at + "/pause", "{}", "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(
      post(at + "/pause", "{}", "Content-Type: application/json\r\nOrigin: http://evil.example\r\n").status,
      403);
}

}  // namespace
}  // namespace wring
