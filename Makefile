# midre - a terminal workbench for model inversion.   make | make run | make test | make help
#
# Two programs: midre (C, ncurses, no libtorch) and midre-engine (C over src/tensor, the only room that knows
# libtorch).  `make run` and `make test` install missing packages first (scripts/deps.sh says which).

SHELL   := /bin/sh
BUILD   ?= build
PREFIX  ?= /usr/local
CC      ?= cc
CXX     ?= c++
# make V=1 shows whole commands.
Q       := $(if $(V),,@)
NVCC    ?= $(shell command -v nvcc 2>/dev/null)
OPT     ?= -O2
SAN     ?=
VERSION := 0.1.0
.DEFAULT_GOAL := all

# ---- libtorch, found once and remembered in $(BUILD)/torch.mk -------------------------------------------------
# Named on the command line, another one is looked for and everything is compiled again; unnamed, the last one stays.
TORCH_ASK := $(strip $(if $(LIBTORCH),LIBTORCH=$(LIBTORCH)) $(if $(PYTHON),PYTHON=$(PYTHON)) \
             $(addprefix CUDA=,$(filter 0 1,$(CUDA))))
TORCH_GOALS := $(filter-out deps deps-test clean distclean help format,$(or $(MAKECMDGOALS),all))
ifneq ($(TORCH_GOALS),)
-include $(BUILD)/torch.mk
endif

ARCH     ?= -march=native
WARN     := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wwrite-strings -Wvla
CWARN    := $(WARN) -Wstrict-prototypes -Wmissing-prototypes
# -ffp-contract=off: the same source gives the same bits with and without fused multiply-add.
COMMON   := -g1 $(OPT) -fno-math-errno -ffp-contract=off -fPIC -pthread -MMD -MP -Iinclude -I. \
            -DMIDRE_VERSION='"$(VERSION)"' -DMIDRE_PREFIX='"$(PREFIX)"' -D_GNU_SOURCE $(SAN)
CFLAGS_  := -std=gnu11 $(CWARN) $(COMMON) $(CFLAGS)
# The engine's hot loops (optimisers, batch filling) want the vector unit of this machine.
HOT      := -O3 $(ARCH)
OMP      := -fopenmp
ifneq ($(findstring clang,$(CC)),)
# clang's own OpenMP is libomp (package libomp-dev).  Without it the loops run on one thread, and make says so.
ifneq ($(shell printf 'int main(void){return 0;}' | $(CC) -fopenmp -x c - -o /dev/null 2>/dev/null && echo 1),1)
OMP      := -fopenmp=libgomp
$(info midre: $(CC) has no OpenMP runtime (libomp-dev); this build of our own loops uses one thread)
endif
endif

TINC     := $(if $(TORCH_ROOT),-isystem $(TORCH_ROOT)/include -isystem $(TORCH_ROOT)/include/torch/csrc/api/include,-isystem /usr/include/torch/csrc/api/include)
CXXFLAGS_ := -std=$(TORCH_STD) $(WARN) $(filter-out -g1,$(COMMON)) -g1 -D_GLIBCXX_USE_CXX11_ABI=$(TORCH_ABI) $(TINC) $(CXXFLAGS)
comma    := ,
# Not -ltorch: a CUDA wheel's libtorch.so pulls in libtorch_cuda.so, also where CUDA=0 asks for the CPU half alone.
# What those libraries need in turn (cuDNN, NCCL, ...) is found by their own run path, not by this link.
TLIB     := $(if $(TORCH_ROOT),-L$(TORCH_ROOT)/lib -Wl$(comma)-rpath$(comma)$(TORCH_ROOT)/lib) \
            $(if $(filter 1,$(TORCH_CUDA)),-Wl$(comma)--allow-shlib-undefined) -Wl,--no-as-needed \
            -ltorch_cpu -lc10 $(if $(filter 1,$(TORCH_CUDA)),-ltorch_cuda -lc10_cuda) -Wl,--as-needed
# The wheels bring their own OpenMP runtime under a private name; two runtimes in one process fight for the cores.
# clang's libomp stands before libgomp in the search order and answers libtorch's calls as well: again one runtime.
GOMP     := $(if $(findstring clang,$(CC)),$(OMP),$(firstword $(if $(TORCH_ROOT),$(wildcard $(TORCH_ROOT)/lib/libgomp*.so* \
            $(TORCH_ROOT)/../torch.libs/libgomp*.so*)) -fopenmp))

# ---- CUDA kernels: only with a CUDA libtorch and nvcc ----------------------------------------------------------
CUDA_SRC := $(wildcard src/cuda/*.cu)
ifeq ($(TORCH_CUDA),1)
ifneq ($(NVCC),)
CUDA_OBJ := $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o)
COMMON   += -DMT_WITH_CUDA_KERNELS
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
# Code for the GPU that is here, or, where there is none to ask, for every generation.
CUDA_ARCH ?= $(if $(shell nvidia-smi -L 2>/dev/null),native,all-major)
# Before 2.9 libtorch tells of GPU memory only through a header that wants the toolkit's.
TINC     += -DMT_CUDA_HEADERS -isystem $(CUDA_HOME)/include
CUDA_LIB := $(firstword $(wildcard $(CUDA_HOME)/lib64/libcudart_static.a $(CUDA_HOME)/targets/x86_64-linux/lib/libcudart_static.a)) -ldl -lrt
endif
endif

# ---- rooms -------------------------------------------------------------------------------------------------------
BASE_SRC   := $(wildcard src/run/*.c src/data/*.c)
UI_SRC     := $(wildcard ui/*.c)
CLI_SRC    := $(wildcard src/cli/*.c)
ENGINE_SRC := $(wildcard src/tensor/*.c src/nn/*.c src/train/*.c src/judge/*.c src/engine/*.c src/bench/*.c models/*.c attacks/*.c defenses/*.c)
SHIM_SRC   := $(wildcard src/tensor/*.cpp)
obj         = $(patsubst %,$(BUILD)/%.o,$(1))
BASE_OBJ   := $(call obj,$(BASE_SRC))
UI_OBJ     := $(call obj,$(UI_SRC))
CLI_OBJ    := $(call obj,$(CLI_SRC))
ENGINE_MAIN := $(BUILD)/src/engine/main.c.o
CLI_MAIN   := $(BUILD)/src/cli/main.c.o
ENGINE_OBJ := $(filter-out $(ENGINE_MAIN),$(call obj,$(ENGINE_SRC) $(SHIM_SRC))) $(CUDA_OBJ)

BASE_LIBS  := -lpng -ljpeg -liniparser -ljansson -lcrypto -lm
UI_LIBS    := -lncursesw -ltinfo -lsixel
ENGINE_LIBS := $(TLIB) $(BASE_LIBS) $(CUDA_LIB)

MIDRE  := $(if $(filter build,$(BUILD)),midre,$(BUILD)/midre)
ENGINE := $(if $(filter build,$(BUILD)),midre-engine,$(BUILD)/midre-engine)

.PHONY: all run test test-long bench asan fuzz install deps deps-test clean distclean help format check-engine

all: $(MIDRE) $(ENGINE)  ## build both programs

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/  make \1\t\2/p' Makefile | expand -t 22
	@echo '  LIBTORCH=DIR | PYTHON=python-with-torch choose libtorch; PREFIX= for install; BUILD=dir for a second build'
	@echo '  CUDA=0 leaves out the CUDA half of the chosen libtorch, CUDA=1 insists on it'

deps:  ## install the Debian/Ubuntu packages for building and running
	@scripts/deps.sh
deps-test:
	@scripts/deps.sh test

run: deps  ## build, then start midre with the demo ready
	@$(MAKE) --no-print-directory all
	./$(MIDRE)

$(BUILD)/torch.mk: $(if $(TORCH_ASK),$(if $(filter-out $(TORCH_ASKED),$(TORCH_ASK)),FORCE)) | scripts/torchcfg.sh
	@mkdir -p $(BUILD)
	@[ -n "$(LIBTORCH)$(PYTHON)$(VIRTUAL_ENV)" ] || [ -e /usr/include/ATen/ATen.h ] || scripts/deps.sh
	@LIBTORCH="$(LIBTORCH)" PYTHON="$(PYTHON)" CUDA="$(CUDA)" scripts/torchcfg.sh > $@.tmp && \
	  echo 'TORCH_ASKED := $(TORCH_ASK)' >> $@.tmp && mv $@.tmp $@ || { rm -f $@.tmp; exit 1; }
.PHONY: FORCE

# ---- objects ---------------------------------------------------------------------------------------------------
# Loops that carry the work are built for this machine; the face renderer is not, its bytes are the same everywhere.
extra = $(if $(filter src/tensor/winograd% src/tensor/bnorm%,$(1)),-ffp-contract=fast -Wno-psabi) $(if $(filter src/tensor/%.c src/data/batch.c src/data/resize.c src/train/augment.c src/train/feeder.c,$(1)),$(HOT) $(OMP),$(if $(filter src/data/synth%,$(1)),-O3,\
          $(if $(filter src/data/% attacks/brepmi.c attacks/rlb_agents.c,$(1)),$(OMP))))

$(BUILD)/%.c.o: %.c $(BUILD)/torch.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC   $@')
	$(Q)$(CC) $(CFLAGS_) $(call extra,$<) -c $< -o $@

$(BUILD)/%.cpp.o: %.cpp $(BUILD)/torch.mk
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CXX  $@')
	$(Q)$(CXX) $(CXXFLAGS_) -c $< -o $@

$(BUILD)/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(if $(V),,@echo '  NVCC $@')
	$(Q)$(NVCC) -O3 -std=c++17 -arch=$(CUDA_ARCH) -Iinclude -I. -Xcompiler -fPIC -c $< -o $@

$(BUILD)/catalogue.c: $(ENGINE)
	@./$(ENGINE) catalogue > $@.tmp && { cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@; touch $@; }
$(BUILD)/catalogue.c.o: $(BUILD)/catalogue.c
	$(Q)$(CC) $(CFLAGS_) -c $< -o $@

$(ENGINE): $(ENGINE_MAIN) $(ENGINE_OBJ) $(BASE_OBJ)
	$(if $(V),,@echo '  LD   $@')
	$(Q)$(CXX) $(SAN) -pthread -o $@ $^ $(GOMP) $(ENGINE_LIBS)

$(MIDRE): $(CLI_OBJ) $(UI_OBJ) $(BASE_OBJ) $(BUILD)/catalogue.c.o
	$(if $(V),,@echo '  LD   $@')
	$(Q)$(CC) $(SAN) -pthread -o $@ $^ $(OMP) $(UI_LIBS) $(BASE_LIBS)

# ---- tests -----------------------------------------------------------------------------------------------------
UNIT   := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
ETEST  := $(patsubst tests/engine/%.c,$(BUILD)/tests/engine/%,$(wildcard tests/engine/test_*.c tests/engine/tool_*.c))

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.c.o $(BASE_OBJ) $(UI_OBJ) $(filter-out $(CLI_MAIN),$(CLI_OBJ)) $(BUILD)/catalogue.c.o
	$(Q)$(CC) $(SAN) -pthread -o $@ $^ $(OMP) $(UI_LIBS) $(BASE_LIBS) -lcmocka
$(BUILD)/tests/engine/%: $(BUILD)/tests/engine/%.c.o $(ENGINE_OBJ) $(BASE_OBJ)
	$(Q)$(CXX) $(SAN) -pthread -o $@ $^ $(GOMP) $(ENGINE_LIBS) -lcmocka
.SECONDARY:

tests-build: $(UNIT) $(ETEST)

test: deps-test  ## all quick tests; the last line says N passed, N failed
	@$(MAKE) --no-print-directory all tests-build
	@BUILD=$(BUILD) MIDRE_BIN=$(CURDIR)/$(MIDRE) ENGINE_BIN=$(CURDIR)/$(ENGINE) tests/run.sh quick

test-long: deps-test  ## the slow proofs: kill and resume at random instants, three demo seeds, fuzzing
	@$(MAKE) --no-print-directory all tests-build
	@BUILD=$(BUILD) MIDRE_BIN=$(CURDIR)/$(MIDRE) ENGINE_BIN=$(CURDIR)/$(ENGINE) tests/run.sh long

asan:  ## the tests under address, leak and undefined-behaviour sanitizers (in build-asan)
	@scripts/deps.sh test
	@$(MAKE) --no-print-directory BUILD=build-asan OPT=-O1 SAN='-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined' \
	  build-asan/midre build-asan/midre-engine tests-build
	@BUILD=build-asan MIDRE_BIN=$(CURDIR)/build-asan/midre ENGINE_BIN=$(CURDIR)/build-asan/midre-engine tests/run.sh asan

# ---- fuzzing: every reader of untrusted files under libFuzzer; nothing of libtorch is linked ------------------------------
FUZZ      := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CC   ?= clang
FUZZ_TIME ?= 60
FUZZ_SRC  := $(wildcard src/tensor/pickle*.c) $(addprefix src/tensor/,zipfile.c crc32.c archive_table.c archive_read.c \
             archive_zip.c archive_legacy.c archive_layout.c archive_data.c) $(BASE_SRC) tests/fuzz/catalogue.c
FUZZ_OBJ  := $(FUZZ_SRC:%=$(BUILD)/fuzz/%.o)

$(BUILD)/fuzz/%.c.o: %.c
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -std=gnu11 -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE \
	  -DMIDRE_VERSION='"$(VERSION)"' -DMIDRE_PREFIX='"$(PREFIX)"' -MMD -MP -Iinclude -I. -c $< -o $@
$(FUZZ): $(BUILD)/fuzz_%: $(BUILD)/fuzz/tests/fuzz/fuzz_%.c.o $(FUZZ_OBJ)
	@echo '  FUZZ $@'
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -pthread $^ $(BASE_LIBS) -o $@

fuzz: $(FUZZ)  ## libFuzzer over every reader, FUZZ_TIME seconds each (60)
	@for t in $^; do n=$${t##*/fuzz_}; mkdir -p $(BUILD)/corpus/$$n; \
	  python3 tests/fuzz/corpus.py $(BUILD)/seeds && echo "== $$n" && \
	  $$t -max_total_time=$(FUZZ_TIME) -timeout=20 -rss_limit_mb=4096 -max_len=65536 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(BUILD)/crash-$$n- $(BUILD)/corpus/$$n $(BUILD)/seeds/$$n || exit 1; done

bench: all  ## measure this machine beside a PyTorch script (see docs/PERFORMANCE.md)
	./$(MIDRE) bench

install: all  ## install under PREFIX (default /usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/midre $(DESTDIR)$(PREFIX)/share/man/man1
	install $(MIDRE) $(ENGINE) $(DESTDIR)$(PREFIX)/bin/
	cp -R assets $(DESTDIR)$(PREFIX)/share/midre/
	install -m 644 docs/midre.1 $(DESTDIR)$(PREFIX)/share/man/man1/

format:  ## clang-format over the sources
	clang-format -i $(BASE_SRC) $(UI_SRC) $(CLI_SRC) $(ENGINE_SRC) $(wildcard include/midre/*.h ui/*.h)

clean:  ## remove build output
	rm -rf $(BUILD) build-asan midre midre-engine

distclean: clean

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
