// The program `wring`.
#include "client/cli/context.h"

int main(int argc, char** argv) {
  return wring::run_cli({argv + 1, argv + argc});
}
