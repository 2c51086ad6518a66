// How many connections the HTTP side takes at a time.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <ostream>
#include <string>
#include <thread>

#include "common/clock.h"
#include "server/http/http_server.h"

namespace wring {
namespace {

using Stream = boost::asio::ip::tcp::iostream;

constexpr const char* kOk = "HTTP/1.1 200 OK\r";

HttpResponse empty_answer(const HttpRequest&) {
  return {};
}

// Of the answer, which has no body; empty where the connection is closed. Else it stays open.
std::string first_line(Stream& stream) {
  stream.expires_after(std::chrono::seconds(20));
  std::string first, line;
  std::getline(stream, first);
  while (line != "\r" && std::getline(stream, line)) {
  }
  return first;
}

std::string ask(Stream& stream) {
  stream << "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" << std::flush;
  return first_line(stream);
}

std::string port_of(const HttpServer& server) {
  return std::to_string(server.port());
}

TEST(HttpConnections, ThoseAboveTheLimitAreClosedAtOnceAndOthersServedOn) {
  const HttpServer server("127.0.0.1", 0, empty_answer, {}, 3);
  std::list<Stream> open;
  for (int i = 0; i < 3; ++i) {
    open.emplace_back("127.0.0.1", port_of(server));
    EXPECT_EQ(ask(open.back()), kOk);
  }
  const Stopwatch watch;
  for (int i = 0; i < 20; ++i) {
    Stream further("127.0.0.1", port_of(server));
    EXPECT_EQ(ask(further), "");
  }
  EXPECT_LT(watch.seconds(), 10);
  for (auto& stream : open) EXPECT_EQ(ask(stream), kOk);

  open.pop_front();
  std::string answer;
  for (const Stopwatch again; answer.empty() && again.seconds() < 20;) {
    Stream later("127.0.0.1", port_of(server));
    answer = ask(later);
  }
  EXPECT_EQ(answer, kOk) << "there is room again";
}

TEST(HttpConnections, TakeABodyThatComesInParts) {
  const HttpServer server("127.0.0.1", 0, [](const HttpRequest& request) {
    HttpResponse response;
    response.status = request.body == std::string(50, 'x') ? 200 : 400;
    return response;
  });
  Stream stream("127.0.0.1", port_of(server));
  for (int turn = 0; turn < 2; ++turn) {
    stream << "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n" << std::flush;
    for (int part = 0; part < 5; ++part) {
      stream << "xxxxxxxxxx" << std::flush;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(first_line(stream), kOk);
  }
}

TEST(HttpConnections, ThoseThatSayNothingCount) {
  const HttpServer server("127.0.0.1", 0, empty_answer, {}, 1);
  const Stream silent("127.0.0.1", port_of(server));
  Stream further("127.0.0.1", port_of(server));
  EXPECT_EQ(ask(further), "");
}

TEST(HttpConnections, TakeNoMoreThanHalfOfTheDescriptors) {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  rlimit few = files;
  few.rlim_cur = 200;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto server = std::make_unique<HttpServer>("127.0.0.1", std::uint16_t{0}, empty_answer);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  std::list<Stream> open;
  for (int i = 0; i < 100; ++i) {
    open.emplace_back("127.0.0.1", port_of(*server));
    EXPECT_EQ(ask(open.back()), kOk) << i;
  }
  Stream further("127.0.0.1", port_of(*server));
  EXPECT_EQ(ask(further), "");
}

}  // namespace
}  // namespace wring
