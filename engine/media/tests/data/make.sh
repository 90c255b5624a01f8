#!/bin/sh
# Makes every fixture of this folder again. Needs ffmpeg 5.1 or later with libx264, libx265, libopus and libmp3lame.
# Encoders differ between versions, so the bytes may differ; the tests only compare a fixture with its own .csv.
set -eu
cd "$(dirname "$0")"
V="-f lavfi -i testsrc=size=160x90:rate=25:duration=2"
A="-f lavfi -i sine=frequency=440:sample_rate=44100:duration=2"
X264="-c:v libx264 -preset medium -crf 34 -pix_fmt yuv420p -threads 1"
NODELAY="-muxdelay 0 -muxpreload 0"
FF="ffmpeg -nostdin -v error -y -bitexact"

$FF $V $A $X264 -bf 3 -g 25 -c:a aac -b:a 32k -f mpegts bframes-aac.ts
$FF $V $X264 -bf 0 -g 25 -f mpegts no-audio.ts
$FF $V -c:v libx265 -x265-params log-level=none:pools=1:keyint=25 -crf 36 -pix_fmt yuv420p -f mpegts hevc.ts
$FF $V $A $X264 -bf 2 -g 25 -c:a aac -b:a 32k -output_ts_offset 93600 -f mpegts offset-26h.ts
# 2^33 / 90000 = 95443.7177 s: one second in, the timestamps start over.
$FF $V $A $X264 -bf 2 -g 25 -c:a aac -b:a 32k $NODELAY -output_ts_offset 95442.7 -f mpegts wrap.ts
$FF $V $A $X264 -bf 0 -g 25 -c:a libopus -ac 1 -ar 48000 -b:a 24k -f mpegts opus.ts
$FF $V $A $X264 -bf 0 -g 25 -c:a libmp3lame -b:a 32k -f mpegts mp3.ts
$FF $V $A $X264 -bf 0 -g 25 -c:a ac3 -b:a 48k -f mpegts ac3.ts
# Three programs in a row: 0x100+0x101, then 0x140+0x141 with another PMT PID, then video alone.
$FF $V $A -t 1 $X264 -bf 0 -g 25 -c:a aac -b:a 32k -f mpegts part1.ts
$FF $V $A -t 1 $X264 -bf 0 -g 25 -c:a aac -b:a 32k -mpegts_start_pid 0x140 -mpegts_pmt_start_pid 0x1010 -output_ts_offset 1 -f mpegts part2.ts
$FF $V -t 1 $X264 -bf 0 -g 25 -mpegts_start_pid 0x140 -mpegts_pmt_start_pid 0x1010 -output_ts_offset 2 -f mpegts part3.ts
cat part1.ts part2.ts part3.ts > pmt-change.ts
rm part1.ts part2.ts part3.ts

# What ffprobe saw: type, pts, dts, size, flags. Packets in the order of the file.
for f in *.ts; do
  ffprobe -v error -show_entries packet=codec_type,pts,dts,size,flags -of csv=p=0 "$f" | grep , | sed "s/,$//" > "${f%.ts}.csv"
done
rm -f pmt-change.csv # ffprobe has its own ideas about tracks that come and go
