// Boost.Beast: one strand of asynchronous calls a connection.
#include "server/http/http_server.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/json.h"

namespace wring {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;

constexpr std::size_t kMaxRequest = 16 * 1024;
constexpr auto kIdle = std::chrono::seconds(30);

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kOutOfRange:
      return 400;
    case ErrorCode::kUnauthenticated:
      return 401;
    case ErrorCode::kPermissionDenied:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kAborted:
    case ErrorCode::kFailedPrecondition:
      return 409;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

// RFC 9457, with the error's own members beside.
HttpResponse problem(int status, const Error& error) {
  Json json{{"type", "about:blank"},     {"title", error.reason()},  {"status", status},
            {"detail", error.message()}, {"reason", error.reason()}, {"code", to_string(error.code())}};
  if (!error.field().empty()) json["field"] = error.field();
  if (!error.hint().empty()) json["hint"] = error.hint();
  return {status, "application/problem+json", json.dump(-1, ' ', false, Json::error_handler_t::replace)};
}

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const HttpHandler& handler)
      : stream_(std::move(socket)), handler_(handler) {}

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxRequest);
    parser_->body_limit(kMaxRequest);
    stream_.expires_after(kIdle);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code failed, std::size_t) { self->on_read(failed); });
  }

 private:
  void on_read(beast::error_code failed) {
    static const auto& http_errors = http::make_error_code(http::error::bad_target).category();
    if (failed && failed != http::error::end_of_stream && failed.category() == http_errors)
      return refuse(failed);
    if (failed) return close();
    const auto& request = parser_->get();
    const bool keep = request.keep_alive();
    if (request.method() != http::verb::get && request.method() != http::verb::head)
      return write(
          problem(405, Error(ErrorCode::kUnimplemented, "METHOD_NOT_ALLOWED", "only GET is served here")),
          keep);
    HttpResponse response;
    try {
      response = handler_(std::string(request.target()));
    } catch (...) {
      const Error error = current_error();
      response = problem(http_status(error.code()), error);
    }
    write(std::move(response), keep);
  }

  void refuse(beast::error_code failed) {
    const bool large = failed == http::error::header_limit || failed == http::error::body_limit ||
                       failed == http::error::buffer_overflow;
    const Error error(ErrorCode::kInvalidArgument, large ? "REQUEST_TOO_LARGE" : "MALFORMED_REQUEST",
                      large ? "a request is at most 16 KiB" : "this is no HTTP request: " + failed.message());
    write(problem(large ? 413 : 400, error), false);
  }

  void write(HttpResponse response, bool keep) {
    const bool head = parser_ && parser_->is_header_done() && parser_->get().method() == http::verb::head;
    message_ = {};
    message_.version(11);
    message_.result(static_cast<unsigned>(response.status));
    message_.set(http::field::server, "wring");
    message_.set(http::field::content_type, response.content_type);
    message_.set(http::field::cache_control, "no-store");
    message_.set("X-Content-Type-Options", "nosniff");
    if (response.status == 405) message_.set(http::field::allow, "GET, HEAD");
    message_.keep_alive(keep);
    message_.body() = std::move(response.body);
    message_.prepare_payload();
    if (head) message_.body().clear();
    stream_.expires_after(kIdle);
    http::async_write(stream_, message_,
                      [self = shared_from_this(), keep](beast::error_code failed, std::size_t) {
                        if (failed || !keep) return self->close();
                        self->read();
                      });
  }

  void close() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  beast::tcp_stream stream_;
  const HttpHandler& handler_;
  beast::flat_buffer buffer_{2 * kMaxRequest};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> message_;
};

}  // namespace

struct HttpServer::Impl {
  explicit Impl(HttpHandler h) : handler(std::move(h)) {}

  void accept() {
    acceptor.async_accept(asio::make_strand(context), [this](beast::error_code failed, tcp::socket socket) {
      if (failed == asio::error::operation_aborted) return;
      if (!failed) std::make_shared<Connection>(std::move(socket), handler)->read();
      accept();
    });
  }

  HttpHandler handler;
  asio::io_context context;
  tcp::acceptor acceptor{context};
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(const std::string& host, std::uint16_t port, HttpHandler handler)
    : impl_(std::make_unique<Impl>(std::move(handler))) {
  try {
    const bool bracketed = host.starts_with('[') && host.ends_with(']');
    const tcp::endpoint endpoint(asio::ip::make_address(bracketed ? host.substr(1, host.size() - 2) : host),
                                 port);
    impl_->acceptor.open(endpoint.protocol());
    impl_->acceptor.set_option(asio::socket_base::reuse_address(true));
    impl_->acceptor.bind(endpoint);
    impl_->acceptor.listen();
  } catch (const boost::system::system_error& e) {
    throw Error(ErrorCode::kUnavailable, "ADDRESS_IN_USE",
                "cannot listen on " + host + ":" + std::to_string(port) + ": " + e.code().message(), "http",
                "Choose another port, or 0 for a free one.");
  }
  impl_->accept();
  for (int i = 0; i < 2; ++i) impl_->threads.emplace_back([this] { impl_->context.run(); });
}

HttpServer::~HttpServer() {
  impl_->context.stop();
  for (auto& thread : impl_->threads) thread.join();
}

std::uint16_t HttpServer::port() const {
  return impl_->acceptor.local_endpoint().port();
}

}  // namespace wring
