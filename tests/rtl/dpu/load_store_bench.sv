/// The engines that touch DDR, between models of the reader, the writer and the on-chip memories.
///
/// One image holds DDR and the on-chip memories, in the order of the parameters. It comes in through `image`; then
/// the instructions run; `event` tells of each how it ended (bits 7:0: error code, 255: aborted), when (31:8) and how
/// many cycles after its start (63:32); when `count` have run, `dump` gives the image back.
/// After an error, and `abort_at` cycles after the first instruction's start, abort_i is high for a while.
module load_store_bench #(
    parameter int Inputs = 8,
    parameter int BusBytes = 8,
    parameter int DdrBytes = 8192,
    parameter int FeatureBytes = 1024,
    parameter int WeightBytes = 1024,
    parameter int ParameterBytes = 512,
    parameter int TableBytes = 1024,
    parameter int OutputBytes = 1024
) (
    input  logic         ap_clk,
    input  logic         ap_rst_n,
    input  logic [ 63:0] image_TDATA,
    input  logic         image_TVALID,
    output logic         image_TREADY,
    input  logic [255:0] instr_TDATA,
    input  logic         instr_TVALID,
    output logic         instr_TREADY,
    output logic [ 63:0] event_TDATA,
    output logic         event_TVALID,
    input  logic         event_TREADY,
    output logic [ 63:0] dump_TDATA,
    output logic         dump_TVALID,
    input  logic         dump_TREADY,
    input  logic [  7:0] stall,         // of 256: chance that the reader or writer pauses
    input  logic [ 15:0] latency,
    input  logic [ 15:0] count,
    input  logic         overlap,       // of instructions for one engine
    input  logic [ 15:0] abort_at,      // 0: never
    input  logic [ 31:0] size,          // of DDR that may be touched
    input  logic [ 31:0] faulty         // bus word of DDR that gives an AXI error, from 1 on
);
  import isa_pkg::*;

  localparam int FeatureStart = DdrBytes;
  localparam int WeightStart = FeatureStart + FeatureBytes;
  localparam int ParameterStart = WeightStart + WeightBytes;
  localparam int TableStart = ParameterStart + ParameterBytes;
  localparam int OutputStart = TableStart + TableBytes;
  localparam int Total = OutputStart + OutputBytes;
  localparam int Unit = Inputs / 2;
  localparam int AbortCycles = 6;

  logic [7:0] image[Total];
  int filled, dumped, done_count, aborting, now;
  opcode_e opcode;
  logic abort;

  // Image and instructions.
  assign image_TREADY = filled < Total;
  assign dump_TVALID = dumped < Total && done_count == 32'(count) && !event_TVALID && filled == Total;
  always_comb for (int n = 0; n < 8; n++) dump_TDATA[n*8+:8] = image[dumped+n<Total?dumped+n : 0];

  logic [2:0] start, ready, done, error, idle;  // features, weights, store
  error_e codes[3];
  int engine, running_engine;
  assign opcode = opcode_e'(instr_TDATA[3:0]);
  always_comb begin
    unique case (opcode)
      OpLoadFeatures: engine = 0;
      OpLoadWeights: engine = 1;
      default: engine = 2;
    endcase
  end
  assign instr_TREADY = filled == Total && aborting == 0 && ready[engine]
      && (none_flies || (overlap && engine == running_engine));
  assign start = 3'(instr_TVALID && instr_TREADY) << engine;
  assign abort = aborting != 0;

  int starts[$];  // of the instructions in flight
  logic [63:0] events[$];
  logic none_flies;
  int quiet;  // cycles without an instruction
  assign event_TVALID = events.size() != 0;
  assign event_TDATA  = events.size() != 0 ? events[0] : '0;

  function automatic void ended(logic [7:0] code);
    events.push_back({32'(now - starts[0]), 24'(now), code});
    void'(starts.pop_front());
  endfunction

  always @(posedge ap_clk) begin
    now <= now + 1;
    if (!ap_rst_n) begin
      {filled, dumped, done_count, aborting, now, quiet} <= '0;
      none_flies <= 1;
    end else begin
      if (image_TVALID && image_TREADY) filled <= filled + 8;
      if (dump_TVALID && dump_TREADY) dumped <= dumped + 8;
      if (event_TVALID && event_TREADY) begin
        void'(events.pop_front());
        done_count <= done_count + 1;
      end
      if (aborting != 0) aborting <= aborting - 1;
      if ((done & error) != 0) $fatal(1, "done and error together");
      if ((done | error) != 0 && starts.size() == 0 && aborting != AbortCycles)
        $fatal(1, "an end of no instruction");
      if (start != 0) begin
        running_engine <= engine;
        starts.push_back(now);
      end
      if (done != 0 && starts.size() != 0) ended(8'd0);
      if (error != 0 && starts.size() != 0) ended(8'(codes[running_engine]));
      if (error != 0 || (abort_at != 0 && done_count == 0 && starts.size() != 0
          && now - starts[0] == 32'(abort_at))) begin
        aborting <= AbortCycles;
        while (starts.size() != 0) ended(8'd255);
      end
      quiet <= starts.size() == 0 && aborting == 0 ? quiet + 1 : 0;
      if (quiet > 0 && aborting == 0 && start == 0 && !(&idle))
        $fatal(1, "not idle without an instruction");
      if (aborting == 1 && !(&idle)) $fatal(1, "not idle after an abort");
      // One engine after the other; instructions of one may overlap.
      none_flies <= starts.size() == 0;
    end
  end

  // Engines.
  logic [2:0] request_valid;
  logic request_ready;
  logic [31:0] offset[3];
  logic [23:0] bytes[3];
  logic read_valid, read_last, read_faulty, write_faulty, range_error, axi_error;
  logic [1:0] read_ready;
  logic [BusBytes*8-1:0] read_data, write_data;
  logic write_valid, write_ready, write_done;

  logic fm_en, fm_range, om_en, om_range, wm_en, pm_en, tm_en;
  logic [2:0] lines_range;
  logic [19:0] fm_addr, om_addr, line_addr;
  logic [1:0] fm_need, om_need;
  logic [Inputs-1:0] fm_strobe;
  logic [Inputs*8-1:0] fm_data, om_data, om_early;
  logic [127:0] line_data;

  dpu_load_features #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) u_features (
      .clk_i           (ap_clk),
      .rst_ni          (ap_rst_n),
      .start_i         (start[0]),
      .instr_i         (instr_TDATA),
      .ready_o         (ready[0]),
      .done_o          (done[0]),
      .error_o         (error[0]),
      .error_code_o    (codes[0]),
      .abort_i         (abort),
      .idle_o          (idle[0]),
      .request_valid_o (request_valid[0]),
      .request_ready_i (request_ready && running_engine == 0),
      .request_offset_o(offset[0]),
      .request_bytes_o (bytes[0]),
      .data_valid_i    (read_valid && running_engine == 0),
      .data_ready_o    (read_ready[0]),
      .data_i          (read_data),
      .data_last_i     (read_last),
      .range_error_i   (range_error && running_engine == 0),
      .axi_error_i     (axi_error && running_engine == 0),
      .fm_en_o         (fm_en),
      .fm_addr_o       (fm_addr),
      .fm_need_o       (fm_need),
      .fm_strobe_o     (fm_strobe),
      .fm_data_o       (fm_data),
      .fm_range_i      (fm_range)
  );

  dpu_load_weights #(
      .BusBytes(BusBytes)
  ) u_weights (
      .clk_i           (ap_clk),
      .rst_ni          (ap_rst_n),
      .start_i         (start[1]),
      .instr_i         (instr_TDATA),
      .ready_o         (ready[1]),
      .done_o          (done[1]),
      .error_o         (error[1]),
      .error_code_o    (codes[1]),
      .abort_i         (abort),
      .idle_o          (idle[1]),
      .request_valid_o (request_valid[1]),
      .request_ready_i (request_ready && running_engine == 1),
      .request_offset_o(offset[1]),
      .request_bytes_o (bytes[1]),
      .data_valid_i    (read_valid && running_engine == 1),
      .data_ready_o    (read_ready[1]),
      .data_i          (read_data),
      .data_last_i     (read_last),
      .range_error_i   (range_error && running_engine == 1),
      .axi_error_i     (axi_error && running_engine == 1),
      .wm_en_o         (wm_en),
      .pm_en_o         (pm_en),
      .tm_en_o         (tm_en),
      .addr_o          (line_addr),
      .data_o          (line_data),
      .wm_range_i      (lines_range[0]),
      .pm_range_i      (lines_range[1]),
      .tm_range_i      (lines_range[2])
  );

  dpu_store #(
      .Inputs  (Inputs),
      .BusBytes(BusBytes)
  ) u_store (
      .clk_i           (ap_clk),
      .rst_ni          (ap_rst_n),
      .start_i         (start[2]),
      .instr_i         (instr_TDATA),
      .ready_o         (ready[2]),
      .done_o          (done[2]),
      .error_o         (error[2]),
      .error_code_o    (codes[2]),
      .abort_i         (abort),
      .idle_o          (idle[2]),
      .om_en_o         (om_en),
      .om_addr_o       (om_addr),
      .om_need_o       (om_need),
      .om_data_i       (om_data),
      .om_range_i      (om_range),
      .request_valid_o (request_valid[2]),
      .request_ready_i (request_ready && running_engine == 2),
      .request_offset_o(offset[2]),
      .request_bytes_o (bytes[2]),
      .data_valid_o    (write_valid),
      .data_ready_i    (write_ready),
      .data_o          (write_data),
      .done_i          (write_done),
      .range_error_i   (range_error && running_engine == 2),
      .axi_error_i     (axi_error && running_engine == 2)
  );

  // Requests, up to eight ahead; both directions share them.
  typedef struct {
    int first;  // byte, and the one after the last
    int last;
    int word;   // the next one's first byte
    int since;
  } request_t;
  request_t requests[$], request;
  int answers[$];  // when the writes are done
  logic accept, take, push_word;
  logic judging, faulted;  // of a request beyond `size`: no other is taken until it is judged
  int judged_at;

  function automatic logic paused();
    return 8'($urandom) < stall;
  endfunction

  logic pause_request, pause_word;
  assign request_ready = requests.size() < 8 && !pause_request && !abort && !judging;
  assign accept = request_valid[running_engine] && request_ready;
  assign write_ready = requests.size() != 0 && running_engine == 2 && !pause_word && !abort;
  assign take = read_valid && read_ready[running_engine[0]];
  assign axi_error = running_engine == 2 ? write_faulty : take && read_faulty;
  assign push_word = requests.size() != 0 && running_engine != 2 && (!read_valid || take) && !pause_word
      && now >= requests[0].since + 32'(latency);

  always @(posedge ap_clk) begin
    pause_request <= paused();
    pause_word <= paused();
    // The error comes at the latest moment: the cycle after one in which a request could be taken.
    faulted <= judging && now >= judged_at;
    range_error <= faulted;
    if (now >= judged_at) judging <= 0;
    write_faulty <= 0;
    write_done <= 0;
    if (take) read_valid <= 0;
    if (push_word || (write_valid && write_ready)) begin
      request = requests[0];
      read_valid <= running_engine != 2;
      for (int n = 0; n < BusBytes; n++) begin
        read_data[n*8+:8] <= image[request.word+n];
        if (running_engine == 2 && request.word + n >= request.first && request.word + n < request.last)
          image[request.word+n] <= write_data[n*8+:8];
      end
      read_last <= request.word + BusBytes >= request.last;
      read_faulty  <= faulty == request.word / BusBytes + 1;
      write_faulty <= faulty == request.word / BusBytes + 1 && running_engine == 2;
      requests[0].word = request.word + BusBytes;
      if (request.word + BusBytes >= request.last) begin
        void'(requests.pop_front());
        if (running_engine == 2) answers.push_back(now + 32'(latency));
      end
    end
    if (answers.size() != 0 && now >= answers[0]) begin
      write_done <= 1;
      void'(answers.pop_front());
    end
    if (accept && 33'(offset[running_engine]) + 33'(bytes[running_engine]) > 33'(size)) begin
      judging   <= 1;
      judged_at <= now + 32'(latency);
    end else if (accept) begin
      request.first = offset[running_engine];
      request.last  = offset[running_engine] + 32'(bytes[running_engine]);
      request.word  = offset[running_engine] / BusBytes * BusBytes;
      request.since = now;
      requests.push_back(request);
    end
    if (ap_rst_n && accept && bytes[running_engine] == 0) $fatal(1, "a request for no bytes");
    if (!ap_rst_n || abort) begin
      requests.delete();
      answers.delete();
      {read_valid, write_faulty, write_done} <= '0;
      {judging, faulted, range_error} <= '0;
    end

    // On-chip memories.
    fm_range <= fm_en && (int'(fm_addr) + (fm_need[1] ? 2 : 1)) * Unit > FeatureBytes;
    if (fm_en && ap_rst_n) begin
      for (int n = 0; n < Inputs; n++) begin
        if (fm_strobe[n] && !fm_need[n/Unit]) $fatal(1, "a byte is written that is not needed");
        if (fm_strobe[n] && int'(fm_addr) * Unit + n < FeatureBytes)
          image[FeatureStart+int'(fm_addr)*Unit+n] <= fm_data[n*8+:8];
      end
    end
    lines_range[0] <= wm_en && int'(line_addr) * 16 >= WeightBytes;
    lines_range[1] <= pm_en && int'(line_addr) * 16 >= ParameterBytes;
    lines_range[2] <= tm_en && int'(line_addr) * 16 >= TableBytes;
    for (int n = 0; n < 16; n++) begin
      if (wm_en && int'(line_addr) * 16 < WeightBytes)
        image[WeightStart+int'(line_addr)*16+n] <= line_data[n*8+:8];
      if (pm_en && int'(line_addr) * 16 < ParameterBytes)
        image[ParameterStart+int'(line_addr)*16+n] <= line_data[n*8+:8];
      if (tm_en && int'(line_addr) * 16 < TableBytes)
        image[TableStart+int'(line_addr)*16+n] <= line_data[n*8+:8];
    end
    om_range <= om_en && (int'(om_addr) + (om_need[1] ? 2 : 1)) * Unit > OutputBytes;
    om_data  <= om_early;
    for (int n = 0; n < Inputs; n++) begin
      if (om_en && om_need[n/Unit] && int'(om_addr) * Unit + n < OutputBytes)
        om_early[n*8+:8] <= image[OutputStart+int'(om_addr)*Unit+n];
      else om_early[n*8+:8] <= 8'($urandom);
    end

    if (image_TVALID && image_TREADY) begin
      for (int n = 0; n < 8; n++) image[filled+n] <= image_TDATA[n*8+:8];
    end
  end

  // The table memory takes a write every fourth cycle.
  int table_age;
  always_ff @(posedge ap_clk) begin
    table_age <= !ap_rst_n ? 4 : tm_en ? 1 : table_age + 1;
    if (ap_rst_n && tm_en && table_age < 4) $fatal(1, "a table is written too early");
    if (ap_rst_n && done[1] && table_age < 4) $fatal(1, "done before the table is written");
  end

endmodule
